import pytest

from keygauge.cli import main
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import key_limits, keys


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))

    def run(*arguments, code=0):
        try:
            ended = main(arguments)
        except SystemExit as ending:  # argparse's own
            ended = ending.code
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return captured.out if code == 0 else captured.err

    return run


@pytest.fixture
def account(run, connection):
    run("plans", "create", "free", "--name", "Free", "--limit", "rpm=60:request:60s")
    run("accounts", "create", "Acme", "--plan", "free")
    return accounts.list_accounts(connection)[0]


def test_plans_are_made_listed_and_limited(run):
    assert "60" in run("plans", "create", "free", "--limit", "rpm=60:request:60s")
    assert "request / month" in run("plans", "set-limits", "free", "--limit", "monthly=1000:request:month")
    listed = run("plans", "list")
    assert "1,000" in listed
    assert "rpm" not in listed


def test_a_limit_said_twice_is_refused(run):
    twice = ("--limit", "rpm=60:request:60s", "--limit", "rpm=600:request:60s")
    assert "limit 'rpm' is given twice" in run("plans", "create", "free", *twice, code=1)


def test_budgets_are_told_in_dollars_and_credits(run):
    limits = ("--limit", "budget=25.50:usd:month", "--limit", "credits=500:credit@0.01:day:key")
    listed = run("plans", "create", "paid", *limits)
    assert "25.5 " in listed
    assert "USD / month" in listed
    assert "500 " in listed
    assert "credit of 0.01 USD / day" in listed
    for wrong in ("budget=many:usd:month", "budget=-1:usd:month", "credits=5:credit@x:month"):
        assert "US dollars" in run("plans", "set-limits", "paid", "--limit", wrong, code=1)


def test_accounts_are_made_listed_and_changed(run, account):
    assert account.name in run("accounts", "list")
    run("plans", "create", "pro")
    assert "pro" in run("accounts", "change-plan", account.id, "pro")
    assert "suspended" in run("accounts", "suspend", account.id)
    assert "active" in run("accounts", "activate", account.id)


def test_a_key_is_given_limits_of_its_own(run, account, connection):
    run("keys", "create", account.id, "prod")
    (key,) = keys.list_keys(connection, account.id)
    assert "rpm" not in run("keys", "limits", key.id)
    listed = run("keys", "set-limits", key.id, "--limit", "slow=5:request:10s", "--limit", "at_once=2:concurrent")
    assert "request / 10 s" in listed
    assert "concurrent" in listed
    assert run("keys", "limits", key.id) == listed
    assert [(limit.name, limit.subject) for limit in key_limits.find(connection, key.id)] == [
        ("slow", "key"),
        ("at_once", "key"),
    ]
    assert "given twice" in run("keys", "set-limits", key.id, *["--limit", "a=1:request:1s"] * 2, code=1)
    assert "too many" in run("keys", "set-limits", key.id, *(f"--limit=a{n}=1:request:1s" for n in range(21)), code=1)
    for wrong in ("slow=-5:request:10s", "slow=5:request", "slow=5:calls:10s", "at_once=2:concurrent:10s"):
        assert run("keys", "set-limits", key.id, "--limit", wrong, code=1)
    assert "none" in run("keys", "set-limits", "none", "--limit", "a=1:request:1s", code=1)
    assert run("keys", "limits", key.id) == listed  # nothing has changed
    run("keys", "set-limits", key.id)
    assert key_limits.find(connection, key.id) == []


def test_a_new_key_is_alone_on_standard_output(run, account, connection):
    token = run("keys", "create", account.id, "prod", "--environment", "test")
    (key,) = keys.list_keys(connection, account.id)
    assert token.startswith(f"kg_test_{key.id}_")
    assert token.count("\n") == 1
    assert token.strip() not in run("keys", "list", account.id)


def test_a_table_in_a_pipe_is_not_cut(run, account, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a name that is longer than others " * 2 + "and then some"
    run("keys", "create", account.id, name)
    lines = run("keys", "list", account.id).splitlines()
    assert any(name in line for line in lines)
    assert max(map(len, lines)) < 250


def test_keys_are_changed(run, account, connection):
    run("keys", "create", account.id, "prod", "--expires-at", "2031-01-01T00:00:00+00:00")
    (key,) = keys.list_keys(connection, account.id)
    assert "2031-01-01" in run("keys", "list", account.id)
    assert "disabled" in run("keys", "disable", key.id)
    assert "active" in run("keys", "enable", key.id)
    assert "production" in run("keys", "rename", key.id, "production")
    assert "deleted" in run("keys", "delete", key.id)
    assert "is deleted" in run("keys", "enable", key.id, code=1)


def test_what_a_key_may_do_is_given_and_changed(run, account, connection):
    run("keys", "create", account.id, "prod", "--models", "gpt-4o-mini, claude-*", "--networks", "192.0.2.1")
    (key,) = keys.list_keys(connection, account.id)
    assert (key.models, key.networks) == (["gpt-4o-mini", "claude-*"], ["192.0.2.1/32"])
    run("keys", "change", key.id, "--models", "", "--routes", "/v1/chat", "--rotate-every-days", "90")
    key = keys.require(connection, key.id)
    assert (key.models, key.routes, key.networks, key.rotate_every_days) == ([], ["/v1/chat"], ["192.0.2.1/32"], 90)


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "change", "none", "--models", "*"),
        ("keys", "change", "none", "--app", "shop"),
        ("plans", "create", "UPPER"),
        ("plans", "create", "x", "--limit", "rpm=-1:request:60s"),
        ("plans", "set-limits", "none"),
        ("accounts", "create", "Acme", "--plan", "none"),
        ("accounts", "suspend", "none"),
        ("keys", "list", "none"),
        ("keys", "create", "none", "prod"),
        ("keys", "create", "none", "a\nb"),
        ("keys", "delete", "none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, arguments):
    complaint = run(*arguments, code=1)
    assert complaint.startswith("keygauge: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys",),
        ("keys", "create"),
        ("keys", "create", "a", "b", "--expires-at", "2030-01-01"),
        ("keys", "create", "a", "b", "--expires-at", "9999-12-31T23:59:59-12:00"),
        ("prices", "rerate", "--from", "0001-01-01T00:00:00+14:00"),
        ("billing", "price", "free", "nan"),
        ("billing", "price", "free", "1e999999"),
        ("serve", "--port", "0"),
    ],
)
def test_a_wrong_command_line_is_explained(run, arguments):
    assert "usage:" in run(*arguments, code=2)


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


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (("usage", "--from", "yesterday"), "give one such as 2030-01-31T12:00:00Z"),
        (("usage", "--to", "2030-01-31T12:00:00"), "end it with Z for UTC"),
        (("serve", "--port", "abc"), "give 1 to 65535"),
        (("serve", "--workers", "0"), "give 1 to 64"),
    ],
)
def test_options_that_make_no_sense_say_the_way_out(run, words, way_out):
    assert way_out in run(*words, code=2)


def test_the_roles_are_printed_as_they_are_in_the_file(run):
    assert run("migrate", "--show-roles") == database.roles()


def test_a_database_is_compared_with_this_version(run, connection, capsys):
    assert "nothing to do" in run("migrate", "--check")
    connection.execute("UPDATE migration SET name = '9999_of_tomorrow.sql' WHERE name = '0011_grafana.sql'")
    connection.commit()
    assert main(["migrate", "--check"]) == 1
    told = capsys.readouterr().out
    assert "pending 0011_grafana.sql" in told
    assert "newer 9999_of_tomorrow.sql" in told
