from datetime import UTC, datetime, timedelta, timezone

import pytest

from keygauge_keyservice.keys import litellm
from keygauge_keyservice.limits.limit_terms import parse_limit

TABLES = """
CREATE TABLE "LiteLLM_VerificationToken" (token text PRIMARY KEY, key_alias text, spend float8, expires timestamp,
    models text[], blocked boolean, created_at timestamp, rpm_limit bigint, tpm_limit bigint,
    max_parallel_requests integer, max_budget float8, budget_duration text, budget_reset_at timestamp, budget_id text,
    team_id text, user_id text);
CREATE TABLE "LiteLLM_TeamTable" (team_id text, team_alias text, blocked boolean);
CREATE TABLE "LiteLLM_UserTable" (user_id text, user_email text);
CREATE TABLE "LiteLLM_BudgetTable" (budget_id text, rpm_limit bigint, tpm_limit bigint, max_parallel_requests integer,
    max_budget float8, budget_duration text, budget_reset_at timestamp);
INSERT INTO "LiteLLM_TeamTable" VALUES ('t1', 'Search', true);
INSERT INTO "LiteLLM_UserTable" VALUES ('u1', 'ann@people.example');
INSERT INTO "LiteLLM_BudgetTable" VALUES ('b1', 7, NULL, 3, 2.5, '30d');
INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, models, created_at, rpm_limit, budget_id, team_id, user_id,
    expires) VALUES ('aa', 'prod', '{gpt-4o}', '2026-01-01', 60, 'b1', 't1', 'u1', '2030-01-31 12:00');
INSERT INTO "LiteLLM_VerificationToken" (token, models, created_at, max_budget, budget_duration)
    VALUES ('bbbbbbbbbbbb', '{all-proxy-models}', '2026-01-02', 5, '14d');
"""


def test_keys_become_rows_for_an_import(connection, database_url):
    connection.execute(TABLES)
    (prod, other), notes = litellm.read(database_url)
    assert prod == {
        "hash": "aa",
        "name": "prod",
        "account": "Search",
        "models": ["gpt-4o"],
        "limits": ["rpm=60:request:60s", "at_once=3:concurrent", "budget=2.500000000:usd:month"],
        "disabled": True,
        "app": "ann@people.example",
        "expires_at": "2030-01-31T12:00:00+00:00",
    }
    assert [parse_limit(text).amount for text in prod["limits"]] == [60, 3, 2_500_000_000]
    assert (other["name"], other["account"], other["models"]) == ("LiteLLM bbbbbbbb", "LiteLLM", [])
    assert (other["limits"], other["disabled"]) == ([], False)
    (note,) = notes
    assert "5.00 USD is for 14d and was not imported" in note


def test_owners_with_the_same_name_are_kept_apart(connection, database_url):
    connection.execute(TABLES)
    connection.execute("""
        INSERT INTO "LiteLLM_TeamTable" VALUES ('t2', 'Search', false), ('t3', 'bob@people.example', false);
        INSERT INTO "LiteLLM_UserTable" VALUES ('u2', 'bob@people.example');
        INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, team_id, user_id) VALUES
            ('1', 'a', 't2', 'u1'), ('2', 'b', 't3', NULL), ('3', 'c', NULL, 'u2'), ('4', 'd', NULL, 'u1')""")
    rows, notes = litellm.read(database_url)
    assert {row["name"]: row["account"] for row in rows} == {
        "prod": "Search (t1)",
        "a": "Search (t2)",
        "b": "bob@people.example (t3)",
        "c": "bob@people.example (u2)",
        "d": "ann@people.example",
        "LiteLLM bbbbbbbb": "LiteLLM",
    }
    assert "Search: 2 teams or users have this name; their accounts have their IDs in the name" in notes


def test_long_names_are_kept_apart_too(connection, database_url):
    connection.execute(TABLES)
    connection.execute("""
        INSERT INTO "LiteLLM_TeamTable" SELECT 't' || n, repeat('x', 100) || n, false FROM generate_series(2, 3) AS n;
        INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, team_id)
            VALUES ('2', 'two', 't2'), ('3', 'three', 't3')""")
    accounts = {row["name"]: row["account"] for row in litellm.read(database_url)[0]}
    assert accounts["two"] == "x" * 95 + " (t2)"
    assert accounts["three"] == "x" * 95 + " (t3)"


def test_sessions_of_litellms_own_pages_are_left_out(connection, database_url):
    connection.execute(TABLES)
    connection.execute("""INSERT INTO "LiteLLM_VerificationToken" (token, team_id) VALUES ('s', 'litellm-dashboard')""")
    assert [row["hash"] for row in litellm.read(database_url)[0]] == ["aa", "bbbbbbbbbbbb"]


def test_keys_keep_to_the_models_of_their_team_and_its_limits_are_listed(connection, database_url):
    connection.execute(TABLES)
    connection.execute("""
        ALTER TABLE "LiteLLM_TeamTable" ADD models text[], ADD rpm_limit bigint, ADD max_budget float8,
            ADD spend float8, ADD budget_duration text;
        ALTER TABLE "LiteLLM_VerificationToken" ADD allowed_routes text[], ADD metadata jsonb;
        UPDATE "LiteLLM_TeamTable" SET models = '{gpt-4o,claude-*}', rpm_limit = 600, max_budget = 100,
            budget_duration = '30d', blocked = false;
        DELETE FROM "LiteLLM_VerificationToken";
        INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, team_id, models, allowed_routes, metadata) VALUES
            ('1', 'all', 't1', '{}', NULL, NULL), ('2', 'team', 't1', '{all-team-models}', '{}', '{}'),
            ('3', 'some', 't1', '{claude-3-opus,o1}', '{/v1/embeddings}', '{"model_rpm_limit": {"gpt-4o": 5}}'),
            ('4', 'wider', 't1', '{gpt-*}', '{llm_api_routes}', NULL), ('5', 'other', 't1', '{o1}', NULL, NULL)""")
    rows, notes = litellm.read(database_url)
    models = {row["name"]: (row["models"], row["disabled"]) for row in rows}
    assert models == {
        "all": (["gpt-4o", "claude-*"], False),
        "team": (["gpt-4o", "claude-*"], False),
        "some": (["claude-3-opus"], False),
        "wider": (["gpt-4o"], False),
        "other": ([], True),
    }
    limits = "--limit rpm=600:request:60s --limit budget=100.000000000:usd:month"
    assert notes == [
        "some: its allowed_routes and model_rpm_limit were not imported",
        "other: none of its models is one of its team's or user's; it was imported as disabled",
        f"Search: the limits of its team or user were not imported; use a plan with {limits}",
    ]


@pytest.fixture
def budget(connection, database_url):
    """`budget(duration)` imports a key's budget and returns its limits and notes."""
    connection.execute(TABLES)

    def budget(duration, resets_at=None, *, zone=None):
        connection.execute(
            'UPDATE "LiteLLM_VerificationToken" SET spend = 1.25, budget_duration = %s, budget_reset_at = %s '
            "WHERE token = 'bbbbbbbbbbbb'",
            (duration, resets_at),
        )
        (_, row), notes = litellm.read(database_url, zone=zone)
        return [parse_limit(text) for text in row["limits"]], notes

    return budget


@pytest.mark.parametrize(
    ("duration", "period"),
    [
        *(("1h", "hour"), ("60m", "hour"), ("1d", "day"), ("24h", "day"), ("7d", "week"), ("1w", "week")),
        *(("30d", "month"), ("1mo", "month")),
    ],
)
@pytest.mark.parametrize("zone", [None, "Asia/Kathmandu"])
def test_budgets_use_litellms_reset_periods(budget, duration, period, zone):
    (limit,), notes = budget(duration, zone=zone)
    assert (limit.unit, limit.amount, limit.period, notes) == ("nanousd", 5 * 10**9, period, [])
    assert limit.zone == (None if period == "hour" else zone)


def test_settings_of_the_database_do_not_matter(budget, connection):
    soon = datetime.now(UTC) + timedelta(days=3)
    expected = budget("1mo", soon)
    for setting in ("datestyle = 'German, DMY'", "timezone = 'Asia/Kathmandu'", "extra_float_digits = -15"):
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}")
    assert budget("1mo", soon) == expected
    assert budget(None)[0][0].amount == 3_750_000_000


@pytest.mark.parametrize("duration", [None, "", "None"])
def test_the_rest_of_a_budget_without_a_period_is_imported(budget, duration):
    (limit,), (note,) = budget(duration)
    assert (limit.amount, limit.period) == (3_750_000_000, "lifetime")
    assert "1.25 USD of its budget of 5.00 USD were spent at LiteLLM" in note


@pytest.mark.parametrize("duration", ["14d", "2d", "12h", "30m", "3mo", "90s", "monthly", "1440m"])
def test_a_budget_with_another_period_is_skipped_with_a_note(budget, duration):
    limits, (note,) = budget(duration)
    assert not limits
    assert f"is for {duration} and was not imported" in note


@pytest.mark.parametrize(("zone", "differs"), [(None, True), ("Asia/Kathmandu", False)])
def test_a_different_reset_time_is_noted(budget, zone, differs):
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    midnight = datetime.now(kathmandu).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    limits, notes = budget("1d", midnight.astimezone(UTC).replace(tzinfo=None), zone=zone)
    assert len(limits) == 1
    note_text = f"resets at {midnight.astimezone(UTC):%F} 18:15 UTC at LiteLLM"
    assert any(note_text in note for note in notes) == bool(notes) == differs
