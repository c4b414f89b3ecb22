"""Keys from a database created by LiteLLM's own migrations, and a client that keeps using its key."""

import hashlib

import environments
import psycopg
import pytest
from serving import get

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import key_limits, keys

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("foreign")]

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware

app = KeyGaugeMiddleware(Starlette(routes=[Route("/hello", PlainTextResponse("hello"))]))
"""
TOKENS = {name: f"sk-{name}-0123456789abcdef" for name in ("team", "user", "nobody", "blocked")}
FILL = """
INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, models, tpm_limit)
    VALUES ('t1', 'Research', '{gpt-4o}', 50000);
INSERT INTO "LiteLLM_UserTable" (user_id, user_email) VALUES ('u1', 'ada@example.com');
INSERT INTO "LiteLLM_BudgetTable" (budget_id, rpm_limit, max_budget, budget_duration, created_by, updated_by)
    VALUES ('b1', 7, 12.5, '30d', 'x', 'x');
"""
KEY = """INSERT INTO "LiteLLM_VerificationToken"
    (token, key_alias, team_id, user_id, models, tpm_limit, max_parallel_requests, max_budget, budget_duration,
     budget_id, blocked, expires) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
ROWS = {
    "team": ("t1", "u1", ["gpt-4o"], 1000, 3, None, None, "b1", None, None),
    "user": (None, "u1", ["all-proxy-models"], None, None, 5.0, "1d", None, False, "2033-05-18T03:33:20"),
    "nobody": (None, None, [], None, None, 2.0, None, None, None, None),
    "blocked": ("t1", None, [], None, None, None, None, None, True, None),
}


@pytest.fixture(scope="module")
def migrations():
    """LiteLLM's own migrations, in order."""
    packages = environments.programs("litellm").parent / "lib"
    found = sorted(packages.glob("python*/site-packages/litellm_proxy_extras/migrations/*/migration.sql"))
    assert found
    return [file.read_text() for file in found]


@pytest.fixture
def litellm(empty_database_url, migrations):
    """The URL of a LiteLLM database with a team, a user and their keys."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        for migration in migrations:
            connection.execute(migration)
        connection.execute(FILL)
        for name, row in ROWS.items():
            connection.execute(KEY, (hashlib.sha256(TOKENS[name].encode()).hexdigest(), name, *row))
    return empty_database_url


@pytest.fixture
def imported(litellm, key_service, monkeypatch, tmp_path, capsys):
    """Import into the key service; return the command's output."""
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", key_service.database_url)
    monkeypatch.setenv("KEYGAUGE_PEPPER", key_service.pepper)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    main(["plans", "create", "moved"])
    capsys.readouterr()
    assert main(["import", "litellm", "--database", litellm, "--plan", "moved"]) == 0
    return capsys.readouterr().out


def test_clients_keep_their_keys_with_limits_and_owners(imported, key_service, serve):
    assert "4 keys imported" in imported
    assert imported.count("note:") == 1
    assert "use a plan with --limit tpm=50000:token:60s" in " ".join(imported.split())
    with psycopg.connect(key_service.database_url, row_factory=psycopg.rows.dict_row) as connection:
        owners = {account.name: account.id for account in accounts.list_accounts(connection)}
        listed = {name: keys.list_keys(connection, owners[name]) for name in ("Research", "ada@example.com", "LiteLLM")}
        by_name = {key.name: key for found in listed.values() for key in found}
        limits = {
            name: {
                limit.name: (limit.amount, limit.window_s or limit.period)
                for limit in key_limits.find(connection, key.id)
            }
            for name, key in by_name.items()
        }
    assert {name: sorted(key.name for key in found) for name, found in listed.items()} == {
        "Research": ["blocked", "team"],
        "ada@example.com": ["user"],
        "LiteLLM": ["nobody"],
    }
    assert limits["team"] == {
        "rpm": (7, 60),
        "tpm": (1000, 60),
        "at_once": (3, None),
        "budget": (12_500_000_000, "month"),
    }
    assert limits["user"] == {"budget": (5_000_000_000, "day")}
    assert limits["nobody"] == {"budget": (2_000_000_000, "lifetime")}
    models = {name: key.models for name, key in by_name.items()}
    assert models == {"team": ["gpt-4o"], "user": [], "nobody": [], "blocked": ["gpt-4o"]}
    assert by_name["user"].expires_at.timestamp() == 2_000_000_000

    port, _ = serve(
        ["uvicorn", "small:app", "--port", "{port}"], {"small.py": APP}, key_service, KEYGAUGE_IMPORTED_KEYS="1"
    )
    assert {name: get(port, "/hello", token) for name, token in TOKENS.items()} == {
        "team": 200,
        "user": 200,
        "nobody": 200,
        "blocked": 401,
    }
    assert get(port, "/hello", "sk-never-issued-0123456789") == 401
