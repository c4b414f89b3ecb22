"""A database restored to an earlier time, or replaced by a standby: keys and events recover automatically."""

import pytest
from polling import until

from keygauge_keyservice import database
from keygauge_keyservice.keys import keys
from keygauge_keyservice.ledger import aside


@pytest.fixture
def installation(cluster, install):
    return install(cluster.url())


def rename(installation, key_id, times):
    """Make `times` changes, which the feed numbers."""
    with installation.connect() as connection:
        for number in range(times):
            keys.change(connection, key_id, actor="test", name=f"name {number}")


def back(cluster, installation, do):
    """Restore the saved copy, and run `do` on it before the key service is used."""
    installation.down()
    cluster.stop()
    cluster.restore()
    cluster.start()
    do()
    installation.up()


def save(cluster, installation):
    installation.down()
    cluster.stop()
    cluster.save()
    cluster.start()
    installation.up()


def test_a_key_disabled_under_a_reused_feed_number_is_refused(cluster, installation):
    account = installation.account()
    key, token = installation.key(account)
    other, _ = installation.key(account)
    save(cluster, installation)
    rename(installation, other, times=2)
    assert installation.call(token) == 200

    def revoke():
        installation.disable(key)
        rename(installation, other, times=1)  # the feed is as long as the replica expects

    back(cluster, installation, revoke)
    until(lambda: installation.call(token) == 401, timeout_s=10)


def test_events_missing_from_the_restored_ledger_arrive_once(cluster, installation):
    _, token = installation.key(installation.account())
    for _ in range(3):
        assert installation.call(token) == 200
    until(lambda: installation.events() == 3)
    save(cluster, installation)
    for _ in range(4):
        assert installation.call(token) == 200
    until(lambda: installation.events() == 7)
    back(cluster, installation, lambda: None)
    assert installation.events() == 3
    until(lambda: installation.events() == 7)  # without further calls
    assert installation.call(token) == 200
    until(lambda: installation.events() == 8)


def test_events_of_a_process_that_has_ended_arrive_once_too(cluster, installation, monkeypatch):
    monkeypatch.setattr("keygauge.spool.shipper._ADOPTION_S", 0.1)
    _, token = installation.key(installation.account())
    save(cluster, installation)
    for _ in range(4):
        assert installation.call(token) == 200
    installation.stop_metered()
    assert installation.events() == 4
    back(cluster, installation, lambda: None)
    assert installation.events() == 0
    assert installation.call(token) == 200  # in the next process on that host

    def have_arrived():
        installation.retake()  # events that arrived before the key's look-up were set aside
        return installation.events() == 5

    until(have_arrived)
    installation.stop_metered()
    assert installation.events() == 5


def test_a_standby_that_missed_the_last_commits_gets_them_from_the_spools(cluster, installation):
    account = installation.account()
    key, token = installation.key(account)
    assert installation.call(token) == 200
    until(lambda: installation.events() == 1)
    standby = cluster.standby()
    try:
        standby.stop()
        for _ in range(3):
            assert installation.call(token) == 200
        until(lambda: installation.events() == 4)
        cluster.kill()
        installation.down()
        standby.start()
        standby.promote()
        installation.url = standby.url()
        installation.up()
        until(lambda: installation.events() == 4)
        installation.disable(key)
        until(lambda: installation.call(token) == 401, timeout_s=10)
    finally:
        installation.end()
        standby.delete()


def dump(cluster):
    """Save the database with `pg_dump`, and return what restores it into a new one of the same name."""
    cluster.run("createdb", "-h", "127.0.0.1", "-p", cluster.port, "-U", "postgres", "spare")
    file = cluster.directory / "dump"
    cluster.run("pg_dump", "-Fc", "-f", file, "-d", cluster.url())

    def restore():
        cluster.execute("DROP DATABASE postgres WITH (FORCE)", "spare")
        cluster.execute("CREATE DATABASE postgres", "spare")
        cluster.run("pg_restore", "--exit-on-error", "-d", cluster.url(), file)

    return restore


def base_backup(cluster):
    """Save the running server with `pg_basebackup`, and return what puts it in place of the newer data."""
    saved = cluster.directory / "saved"
    source = f"host=127.0.0.1 port={cluster.port} user=postgres"
    cluster.run("pg_basebackup", "-D", saved, "-d", source, "-c", "fast")

    def restore():
        cluster.stop()
        cluster.restore()
        cluster.start()

    return restore


def events_of(installation, key_id):
    with installation.connect() as connection:
        [row] = connection.execute(
            "SELECT (SELECT count(*) FROM event WHERE key_id = %(key)s) AS single, "
            "(SELECT coalesce(sum(requests), 0)::integer FROM rollup WHERE key_id = %(key)s) AS summed",
            {"key": key_id},
        ).fetchall()
    return row["single"], row["summed"]


@pytest.mark.parametrize("backup", [dump, base_backup])
def test_a_backup_of_the_running_service_is_restored_step_by_step(cluster, installation, backup):
    account = installation.account()
    (revoked, revoked_token), (kept, token) = installation.key(account), installation.key(account)
    assert [installation.call(one) for one in (revoked_token, token)] == [200, 200]
    until(lambda: events_of(installation, kept) == (1, 1))
    restore = backup(cluster)
    later, later_token = installation.key(account)
    assert [installation.call(one) for one in (later_token, token, token)] == [200] * 3
    installation.disable(revoked)
    until(lambda: installation.call(revoked_token) == 401)
    until(lambda: events_of(installation, kept) == (3, 3))
    installation.down()
    restore()
    with installation.connect() as connection:
        assert keys.find(connection, later) is None
        assert keys.require(connection, revoked).status == "active"
        database.migrate(connection)
    assert events_of(installation, kept) == (1, 1)
    installation.disable(revoked)
    installation.up()
    until(lambda: installation.call(revoked_token) == 401, timeout_s=10)
    until(lambda: installation.call(later_token) == 401, timeout_s=10)
    until(lambda: events_of(installation, kept) == (3, 3))
    assert installation.call(token) == 200
    until(lambda: events_of(installation, kept) == (4, 4))
    with installation.connect() as connection:  # usage of a key that was lost is not
        assert {(one["reason"], one["key_id"]) for one in aside.count(connection)} == {("unknown_key", later)}
