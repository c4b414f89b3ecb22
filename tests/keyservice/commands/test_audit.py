import json


def test_changes_are_in_the_audit_log(run, account):
    run("accounts", "disable", "Acme")
    run("accounts", "enable", "Acme")
    (entry,) = json.loads(run("audit", "list", "--event", "account.suspend", "-o", "json"))["entries"]
    assert (entry["actor"], entry["account"]) == ("operator", account.id)
    assert len(run("audit", "list", "--limit", "2").splitlines()) == 3


def test_the_audit_log_is_narrowed_by_actor_and_time(run, account):
    assert run("audit", "list", "--actor", "test", "--from", "1h", "--quiet")
    assert run("audit", "list", "--actor", "nobody", "--quiet") == ""
    assert run("audit", "list", "--to", "2020-01-01", "--quiet") == ""
