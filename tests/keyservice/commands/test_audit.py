import json
import re


def test_changes_are_in_the_audit_log(run, account):
    run("accounts", "disable", "Acme")
    run("accounts", "enable", "Acme")
    (entry,) = json.loads(run("audit", "list", "--event", "account.suspend", "-o", "json"))["entries"]
    assert (entry["actor"], entry["account"]) == ("operator", account.id)
    assert len(run("audit", "list", "--limit", "2").splitlines()) == 3


def test_changes_are_words_in_tables_and_codes_in_csv(run):
    run("plans", "create", "basic", "--price", "$20", "--limit", "rpm=600:request:1m")
    run("plans", "update", "basic", "--price", "$25.50")
    listed = run("audit", "list", "--event", "plan")
    assert "Monthly price: $20.00 → $25.50" in listed
    assert "600 requests per minute" in listed
    assert not re.search("nanousd|window_s|[{}]", listed)
    assert "monthly_nanousd: 20000000000 → 25500000000" in run("audit", "list", "--event", "plan", "-o", "csv")


def test_audit_log_is_filtered_by_actor_and_time(run, account):
    assert run("audit", "list", "--actor", "test", "--from", "1h", "--quiet")
    assert run("audit", "list", "--actor", "nobody", "--quiet") == ""
    assert run("audit", "list", "--to", "2020-01-01", "--quiet") == ""
