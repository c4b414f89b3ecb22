"""A database restored to an earlier time, or replaced by a standby: keys and events recover automatically."""

import pytest
from polling import until

from keygauge_keyservice.keys import keys


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
