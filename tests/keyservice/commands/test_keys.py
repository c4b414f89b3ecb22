import csv
import io
import json
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.keys import key_limits, keys


def key_of(connection, account):
    (key,) = keys.list_keys(connection, account.id)
    return key


def test_key_limits_are_set_and_removed(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme", "--limit", "slow=5:request:10s")
    key = key_of(connection, account)
    assert "slow: 5 request / 10s" in run("keys", "show", "prod")
    shown = run("keys", "update", key.id, "--limit", "at_once=2:concurrent")
    assert "at_once: 2 concurrent per key" in shown
    assert [(limit.name, limit.subject) for limit in key_limits.find(connection, key.id)] == [("at_once", "key")]
    run("keys", "update", "prod", "--no-limits")
    assert key_limits.find(connection, key.id) == []


def test_only_the_new_token_is_on_standard_output(run, account, connection):
    token = run("keys", "create", "prod", "--account", account.id, "--environment", "test")
    key = key_of(connection, account)
    assert token.startswith(f"kg_test_{key.id}_")
    assert token.count("\n") == 1
    assert token.strip() not in run("keys", "list", "--account", "Acme", "--output", "json")
    assert "prod" in run("keys", "show", token.strip())  # a pasted token finds its key


def test_account_may_come_before_the_name_as_in_old_scripts(run, account, connection):
    assert run("keys", "create", account.id, "prod").startswith(f"kg_live_{key_of(connection, account).id}_")
    for words in (["prod"], [account.id, "b", "c"], [account.id, "b", "--account", "Acme"]):
        assert "Use --account" in run("keys", "create", *words, code=2)


def test_piped_list_is_plain(run, account, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a name that is longer than others " * 2 + "and then some"
    run("keys", "create", name, "--account", "Acme")
    head, line = run("keys", "list").splitlines()
    assert head.split("\t")[:2] == ["KEY", "NAME"]
    assert line.split("\t")[1] == name


def test_lists_are_printed_as_json_csv_or_ids(run, account, connection):
    for name in ("a", "b"):
        run("keys", "create", name, "--account", "Acme", "--models", "gpt-4o,claude-*")
    ids = [key.id for key in keys.list_keys(connection, account.id)]
    document = json.loads(run("keys", "list", "--output", "json"))
    assert ([key["id"] for key in document["keys"]], document["next"]) == (ids, None)
    rows = list(csv.DictReader(io.StringIO(run("keys", "list", "-o", "csv"))))
    assert [(row["key"], row["last_used"]) for row in rows] == [(one, "") for one in ids]
    assert datetime.fromisoformat(rows[0]["created"]).tzinfo
    assert run("keys", "list", "--quiet").split() == ids
    assert run("keys", "list", "-q", "--limit", "1").split() == ids[:1]


def test_keys_are_changed(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme", "--expires-at", "2131-01-01")
    key = key_of(connection, account)
    assert "2131-01-01" in run("keys", "list")
    assert "disabled" in run("keys", "disable", "prod")
    assert "active" in run("keys", "enable", key.id)
    assert "production" in run("keys", "update", "prod", "--name", "production", "--no-expiry")
    assert keys.require(connection, key.id).expires_at is None
    run("keys", "delete", "production", "--yes")
    assert run("keys", "list", "-q") == ""
    assert run("keys", "list", "-q", "--status", "deleted") == f"{key.id}\n"
    assert "is deleted" in run("keys", "enable", key.id, code=1)


def test_key_permissions_are_set_and_changed(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme", "--models", "gpt-4o-mini, claude-*", "--networks", "192.0.2.1")
    key = key_of(connection, account)
    assert (key.models, key.networks) == (["gpt-4o-mini", "claude-*"], ["192.0.2.1/32"])
    run("keys", "update", key.id, "--models", "", "--routes", "/v1/chat", "--rotate-every-days", "90")
    key = keys.require(connection, key.id)
    assert (key.models, key.routes, key.networks, key.rotate_every_days) == ([], ["/v1/chat"], ["192.0.2.1/32"], 90)
    assert "--models 'a b' must be a model" in run("keys", "update", key.id, "--models", "gpt,a b", code=1)


def test_past_expiry_is_rejected_on_create_and_shown_on_update(run, account, capsys, connection):
    complaint = run("keys", "create", "prod", "--account", "Acme", "--expires-at", "2020-01-01", code=2)
    assert "is in the past" in complaint
    assert keys.list_keys(connection, account.id) == []
    run("keys", "create", "prod", "--account", "Acme", "--expires-at", "7d")
    ends = key_of(connection, account).expires_at - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < ends <= timedelta(days=7)
    assert "expired" in run("keys", "update", "prod", "--expires-at", "2020-01-01")


def test_rotation_with_the_same_id_is_done_once(run, account):
    first = run("keys", "create", "prod", "--account", "Acme")
    rotate = ("keys", "rotate", "prod", "--grace", "1h", "--rotation-id", "once")
    assert run(*rotate) not in {"", first}
    assert run(*rotate) == ""
    assert "not a duration" in run("keys", "rotate", "prod", "--grace", "90", code=2)


def test_an_account_with_the_maximum_of_keys_gets_no_other(run, account, monkeypatch, tmp_path):
    monkeypatch.setenv("KEYGAUGE_ACCOUNT_KEYS_MAX", "1")
    run("keys", "create", "prod", "--account", "Acme")
    assert "at most 1 key." in run("keys", "create", "second", "--account", "Acme", code=1)
    (tmp_path / "keys.txt").write_text("sk-of-another-system")
    assert "at most 1 key." in run("keys", "import", str(tmp_path / "keys.txt"), "--account", "Acme", code=1)
    assert run("keys", "list", "--account", "Acme", "--quiet").count("\n") == 1
