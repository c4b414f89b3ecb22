import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from keygauge import cli
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import key_limits, keys


def key_of(connection, account):
    (key,) = keys.list_keys(connection, account.id)
    return key


def test_plans_are_created_shown_and_updated(run):
    assert "rpm: 60 request / 1m" in run("plans", "create", "free", "--limit", "rpm=60:request:60s", "--price", "$2.50")
    assert "$2.50" in run("plans", "show", "free")
    updated = run("plans", "update", "free", "--limit", "monthly=1000:request:month", "--name", "Free of charge")
    assert "monthly: 1,000 request / month" in updated
    assert "rpm" not in updated
    assert "Free of charge" in run("plans", "list")
    assert "free" in run("plans", "show", "Free of charge", "--quiet")
    assert "monthly" not in run("plans", "update", "free", "--no-limits")


def test_budgets_are_told_in_dollars_and_credits(run):
    limits = ("--limit", "budget=$25.50:usd:month", "--limit", "credits=500:credit@0.01:day:key")
    shown = run("plans", "create", "paid", *limits)
    assert "budget: $25.50 / month" in shown
    assert "credits: 500 credit of $0.01 / day per key" in shown


def test_weighted_units_are_told_with_their_weights(run):
    shown = run("plans", "create", "paid", "--limit", "a=1000:points(input+4*output):month")
    assert "a: 1,000 points (input+4*output) / month" in shown


def test_a_window_is_a_duration(run):
    shown = run("plans", "create", "free", "--limit", "a=1:request:90s", "--limit", "b=2:request:1h")
    assert "a: 1 request / 90s" in shown
    assert "b: 2 request / 1h" in shown


def test_periods_tell_their_anchor_and_zone(run):
    billed = "billed=5:request:month,anchor=2026-01-15,zone=Europe/Berlin"
    shown = run("plans", "create", "free", "--limit", billed, "--limit", "trial=9:request:lifetime")
    assert "billed: 5 request / month from 2026-01-15 (Europe/Berlin)" in shown
    assert "trial: 9 request / lifetime" in shown


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("a=1:request:60s,anchor=2026-01-15", "the anchor only applies to the periods week, month, quarter, year"),
        ("a=1:request:day,zone=UTC+3", "the time zone must be an IANA time zone such as Europe/Berlin"),
        ("rpm=-1:request:60s", "the amount must be an integer from 0"),
        (
            "rpm=5:calls:60s",
            "the unit must be one of concurrent, credit, input_token, usd, output_token, request",
        ),
        ("rpm=5:request", "the window must be one such as 60s, 1h, day or month"),
        ("at_once=2:concurrent:10s", "the window must be one such as 60s"),
        ("budget=many:usd:month", "the amount must be an amount in US dollars"),
        ("RPM=5:request:60s", "the name must be 1 to 40 of a-z"),
    ],
)
def test_a_wrong_limit_is_told_as_it_was_given(run, limit, told):
    complaint = run("plans", "create", "free", "--limit", limit, code=1)
    assert complaint.startswith(f"keygauge: --limit {limit}: {told}")
    assert not any(word in complaint for word in ("nanousd", "window_s", "[0]"))


def test_limits_that_do_not_fit_together_are_told_in_the_users_words(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme")
    twice = ("--limit", "rpm=60:request:60s", "--limit", "rpm=600:request:60s")
    assert "--limit 2 limits are named 'rpm'" in run("plans", "create", "pro", *twice, code=1)
    many = [f"--limit=a{number}=1:request:1s" for number in range(21)]
    assert "--limit must be a list of at most 20" in run("keys", "update", "prod", *many, code=1)
    assert key_limits.find(connection, key_of(connection, account).id) == []


def test_accounts_are_created_renamed_moved_and_suspended(run, account):
    assert "Acme" in run("accounts", "list")
    run("plans", "create", "pro")
    assert "pro" in run("accounts", "update", "acme", "--plan", "pro", "--name", "Acme Ltd")
    assert "suspended" in run("accounts", "disable", account.id)
    assert run("accounts", "list", "--status", "suspended", "--quiet") == f"{account.id}\n"
    assert "active" in run("accounts", "enable", "Acme Ltd")
    assert run("accounts", "list", "--status", "suspended", "--quiet") == ""
    assert "Choose what to change" in run("accounts", "update", account.id, code=2)


def test_a_name_that_two_have_asks_for_the_id(run, account, connection):
    other = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    complaint = run("accounts", "show", "Acme", code=1)
    assert "use the id instead" in complaint
    assert account.id in complaint
    assert other.id in complaint


def test_a_key_is_given_limits_of_its_own(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme", "--limit", "slow=5:request:10s")
    key = key_of(connection, account)
    assert "slow: 5 request / 10s" in run("keys", "show", "prod")
    shown = run("keys", "update", key.id, "--limit", "at_once=2:concurrent")
    assert "at_once: 2 concurrent per key" in shown
    assert [(limit.name, limit.subject) for limit in key_limits.find(connection, key.id)] == [("at_once", "key")]
    run("keys", "update", "prod", "--no-limits")
    assert key_limits.find(connection, key.id) == []


def test_a_new_key_is_alone_on_standard_output(run, account, connection):
    token = run("keys", "create", "prod", "--account", account.id, "--environment", "test")
    key = key_of(connection, account)
    assert token.startswith(f"kg_test_{key.id}_")
    assert token.count("\n") == 1
    assert token.strip() not in run("keys", "list", "--account", "Acme", "--output", "json")
    assert "prod" in run("keys", "show", token.strip())  # a pasted key finds itself


def test_a_key_may_be_asked_for_as_scripts_from_before_the_account_option_do(run, account, connection):
    assert run("keys", "create", account.id, "prod").startswith(f"kg_live_{key_of(connection, account).id}_")
    for words in (["prod"], [account.id, "b", "c"], [account.id, "b", "--account", "Acme"]):
        assert "Use --account" in run("keys", "create", *words, code=2)


def test_a_list_in_a_pipe_is_plain(run, account, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a name that is longer than others " * 2 + "and then some"
    run("keys", "create", name, "--account", "Acme")
    head, line = run("keys", "list").splitlines()
    assert head.split("\t")[:2] == ["KEY", "NAME"]
    assert line.split("\t")[1] == name


def test_lists_are_json_csv_or_ids(run, account, connection):
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


def test_what_a_key_may_do_is_given_and_changed(run, account, connection):
    run("keys", "create", "prod", "--account", "Acme", "--models", "gpt-4o-mini, claude-*", "--networks", "192.0.2.1")
    key = key_of(connection, account)
    assert (key.models, key.networks) == (["gpt-4o-mini", "claude-*"], ["192.0.2.1/32"])
    run("keys", "update", key.id, "--models", "", "--routes", "/v1/chat", "--rotate-every-days", "90")
    key = keys.require(connection, key.id)
    assert (key.models, key.routes, key.networks, key.rotate_every_days) == ([], ["/v1/chat"], ["192.0.2.1/32"], 90)
    assert "--models 'a b' must be a model" in run("keys", "update", key.id, "--models", "gpt,a b", code=1)


def test_a_key_that_has_expired_already_is_refused_or_warned_about(run, account, capsys, connection):
    complaint = run("keys", "create", "prod", "--account", "Acme", "--expires-at", "2020-01-01", code=2)
    assert "is in the past" in complaint
    assert keys.list_keys(connection, account.id) == []
    run("keys", "create", "prod", "--account", "Acme", "--expires-at", "7d")
    ends = key_of(connection, account).expires_at - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < ends <= timedelta(days=7)
    assert "expired" in run("keys", "update", "prod", "--expires-at", "2020-01-01")


def test_a_rotation_is_done_once(run, account):
    first = run("keys", "create", "prod", "--account", "Acme")
    rotate = ("keys", "rotate", "prod", "--grace", "1h", "--rotation-id", "once")
    assert run(*rotate) not in {"", first}
    assert run(*rotate) == ""
    assert "not a duration" in run("keys", "rotate", "prod", "--grace", "90", code=2)


def test_changes_are_in_the_audit_log(run, account):
    run("accounts", "disable", "Acme")
    run("accounts", "enable", "Acme")
    (entry,) = json.loads(run("audit", "list", "--event", "account.suspend", "-o", "json"))["entries"]
    assert (entry["actor"], entry["account"]) == ("operator", account.id)
    assert len(run("audit", "list", "--limit", "2").splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "update", "none", "--models", "gpt-4o"),
        ("keys", "update", "none", "--account", "none", "--app", "shop"),
        ("plans", "create", "UPPER"),
        ("plans", "update", "none", "--no-limits"),
        ("accounts", "create", "Acme", "--plan", "none"),
        ("accounts", "disable", "none"),
        ("keys", "list", "--account", "none"),
        ("keys", "create", "prod", "--account", "none"),
        ("keys", "delete", "none"),
        ("usage", "--account", "none"),
        ("calls", "list", "--account", "none"),
        ("tokens", "delete", "none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, words):
    complaint = run(*words, code=1)
    assert complaint.startswith("keygauge: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (("keys", "create"), "Missing argument 'NAME'"),
        (("keys", "create", "prod", "Acme"), "Use --account ID or NAME"),
        (("keys", "list", "Acme"), "use --account ID or NAME"),
        (("list", "keys"), "The noun comes first: keygauge keys list"),
        (("rename", "keys", "prod"), "The noun comes first: keygauge keys update"),
        (("--account", "Acme", "keys", "list"), "options come after the verb"),
        (("keys", "--account", "Acme", "list"), "options come after the verb"),
        (("keys", "change", "prod"), "Did you mean 'update'?"),
        (("accounts", "suspend", "Acme"), "Did you mean 'disable'?"),
        (("keys", "creat", "prod"), "No such command 'creat'"),
        (("keys", "create", "a", "--account", "b", "--expires-at", "2030-01-01T00:00"), "end it with Z for UTC"),
        (("keys", "create", "a", "--account", "b", "--expires-at", "9999-12-31T23:59:59-12:00"), "is not a time"),
        (("prices", "rerate", "--from", "0001-01-01T00:00:00+14:00"), "is not a time"),
        (("plans", "create", "free", "--price", "nan"), "is not an amount: use $0 to $1,000,000"),
        (("plans", "create", "free", "--price", "1e999999"), "such as $2.50"),
        (("usage", "--from", "yesterday"), "use one such as 2030-01-31"),
        (("serve", "--port", "0"), "use 1 to 65535"),
        (("serve", "--port", "abc"), "use 1 to 65535"),
        (("serve", "--workers", "0"), "use 1 to 64"),
    ],
)
def test_a_wrong_command_line_says_the_way_out(run, words, way_out):
    complaint = run(*words, code=2)
    assert "Usage:" in complaint
    assert way_out in complaint


def test_a_database_without_tables_names_the_way_out(run, monkeypatch, empty_database_url):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", empty_database_url)
    assert "keygauge migrate" in run("plans", "list", code=1)
    assert "0001_accounts.sql" in run("migrate")
    assert "nothing to do" in run("migrate")


def test_a_database_that_is_away_is_said_in_one_line(run, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", "postgresql://user:hush@127.0.0.1:1/none")
    complaint = run("plans", "list", code=1)
    assert "KEYGAUGE_DATABASE_URL" in complaint
    assert "hush" not in complaint


def test_the_roles_are_printed_as_they_are_in_the_file(run):
    assert run("migrate", "--show-roles") == database.roles()


def test_a_database_is_compared_with_this_version(run, connection, capsys):
    assert "nothing to do" in run("migrate", "--check")
    connection.execute("UPDATE migration SET name = '9999_of_tomorrow.sql' WHERE name = '0011_grafana.sql'")
    connection.commit()
    assert cli.main(["migrate", "--check"]) == 1
    told = capsys.readouterr().out
    assert "pending 0011_grafana.sql" in told
    assert "newer 9999_of_tomorrow.sql" in told


def test_plans_are_deleted_and_lists_sorted(run, account, connection):
    run("plans", "create", "trial")
    assert run("plans", "list", "--quiet", "--sort=-id").split() == ["trial", "free"]
    assert run("accounts", "list", "--quiet", "--sort", "name").split() == [account.id]
    run("plans", "delete", "trial")
    assert run("plans", "list", "--quiet").split() == ["free"]
    assert "1 account is on the plan 'free'" in run("plans", "delete", "free", code=1)


def test_the_audit_log_is_narrowed_by_actor_and_time(run, account):
    assert run("audit", "list", "--actor", "test", "--from", "1h", "--quiet")
    assert run("audit", "list", "--actor", "nobody", "--quiet") == ""
    assert run("audit", "list", "--to", "2020-01-01", "--quiet") == ""


def test_an_account_without_a_history_is_deleted(run, account):
    run("keys", "create", "prod", "--account", "Acme")
    assert "has keys or invoices" in run("accounts", "delete", "Acme", code=1)
    run("accounts", "create", "Mistake", "--plan", "free")
    run("accounts", "delete", "Mistake")
    assert run("accounts", "list", "--quiet").split() == [account.id]
