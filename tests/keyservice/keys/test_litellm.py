from datetime import UTC, datetime, timedelta, timezone

import pytest

from keygauge_keyservice.keys import litellm
from keygauge_keyservice.limits.limit_terms import parse_limit

TABLES = """
CREATE TABLE "LiteLLM_VerificationToken" (token text PRIMARY KEY, key_alias text, spend float8, expires timestamp,
    models text[], blocked boolean, created_at timestamp, rpm_limit bigint, tpm_limit bigint,
    max_parallel_requests integer, max_budget float8, budget_duration text, budget_id text, team_id text, user_id text);
CREATE TABLE "LiteLLM_TeamTable" (team_id text, team_alias text, blocked boolean);
CREATE TABLE "LiteLLM_UserTable" (user_id text, user_email text);
CREATE TABLE "LiteLLM_BudgetTable" (budget_id text, rpm_limit bigint, tpm_limit bigint, max_parallel_requests integer,
    max_budget float8, budget_duration text);
INSERT INTO "LiteLLM_TeamTable" VALUES ('t1', 'Search', true);
INSERT INTO "LiteLLM_UserTable" VALUES ('u1', 'ann@people.example');
INSERT INTO "LiteLLM_BudgetTable" VALUES ('b1', 7, NULL, 3, 2.5, '30d');
INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, models, created_at, rpm_limit, budget_id, team_id, user_id,
    expires) VALUES ('aa', 'prod', '{gpt-4o}', '2026-01-01', 60, 'b1', 't1', 'u1', '2030-01-31 12:00');
INSERT INTO "LiteLLM_VerificationToken" (token, models, created_at, max_budget, budget_duration)
    VALUES ('bbbbbbbbbbbb', '{all-proxy-models}', '2026-01-02', 5, '7d');
"""


def test_keys_are_rows_of_an_import(connection, database_url):
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
    assert "5.00 USD is for 7d" in note


def test_another_database_is_told_from_litellms(database_url):
    with pytest.raises(litellm.NotLiteLLMError, match="LiteLLM_VerificationToken"):
        litellm.read(database_url)


def test_times_are_utc_whichever_way_the_column_keeps_them():
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert litellm._utc(noon.replace(tzinfo=None)) == noon
    assert litellm._utc(noon.astimezone(timezone(timedelta(hours=5)))).isoformat() == noon.isoformat()
