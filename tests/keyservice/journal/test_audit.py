import pytest

from keygauge_keyservice import database
from keygauge_keyservice.journal import audit


@pytest.fixture
def record(connection):
    def record(action, *, account="a", subject="k1", actor="ann", **values):
        audit.append(connection, account_id=account, actor=actor, action=action, subject=subject, **values)

    return record


def test_entries_are_newest_first_with_their_changes(connection, record):
    record("key.create", after={"name": "prod"})
    record("key.rename", before={"name": "prod"}, after={"name": "live"})
    renamed, made = audit.find_entries(connection, "a")
    assert (made.action, made.before, made.after) == ("key.create", None, {"name": "prod"})
    assert (renamed.before, renamed.after, renamed.actor, renamed.subject) == (
        *({"name": "prod"}, {"name": "live"}, "ann", "k1"),
    )


def test_entries_are_filtered(connection, record):
    for action in ("key.create", "key.delete", "keyring.x", "member.invite"):
        record(action)
    record("key.create", account="b", actor="bob", subject="k2")

    def found(account=None, **chosen):
        return [entry.action for entry in audit.find_entries(connection, account, **chosen)]

    assert found(action="key") == ["key.create", "key.delete", "key.create"]
    assert found("a", action="key.create") == found(actor="bob") == found(subject="k2") == ["key.create"]
    (last, *_, first) = audit.find_entries(connection, None)
    assert found(start=last.at) == ["key.create"]
    assert len(found(end=last.at)) == 4
    assert found(after=first.id) == []
    assert len(found(limit=2)) == 2


def test_read_all_uses_a_new_connection_per_page(database_url, record, monkeypatch):
    monkeypatch.setattr(audit, "PAGE_MAX", 2)
    for number in range(5):
        record("key.create", subject=str(number))
    entries = audit.read_all(lambda: database.connect(database_url), "a", action="key")
    assert [entry.subject for entry in entries] == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("action", ["plan", "plan.change"])
def test_rare_event_is_found_without_reading_the_whole_log(connection, action):
    connection.execute(
        "INSERT INTO audit (account_id, actor, action, subject) SELECT 'busy', 'ada', "
        "CASE n WHEN 5 THEN 'plan.change' ELSE 'key.update' END, n::text FROM generate_series(1, 5000) AS n"
    )
    connection.execute("ANALYZE audit")
    read = (
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_user_tables "
        "WHERE relname = 'audit'"
    )
    with connection.transaction():
        before = connection.execute(read).fetchone()["rows"]
        assert [one.subject for one in audit.find_entries(connection, "busy", action=action)] == ["5"]
        assert connection.execute(read).fetchone()["rows"] - before < 10
