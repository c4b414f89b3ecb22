"""`keygauge-demo-traffic` with an existing stack, as in compose.yaml."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from keygauge_demo.customers import profiles, seed


@pytest.fixture
def environ(shared_stack, tmp_path):
    return {
        **os.environ,
        "KEYGAUGE_SERVICE_URL": shared_stack.service_url,
        "KEYGAUGE_ADMIN_TOKEN": shared_stack.admin_token,
        "DEMO_API_URL": shared_stack.api_url,
        "DEMO_STATE": str(tmp_path / "traffic"),
        "DEMO_SECONDS": "3",
        "COLUMNS": "200",
    }


def run(environ):
    command = [sys.executable, "-m", "keygauge_demo.remote"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def count(stack, environ, query):
    """Count rows of the keys that a run created."""
    planted = seed.read(Path(environ["DEMO_STATE"]) / "seed.json")
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute(query, (list(planted.key_ids.values()),)).fetchone()[0]


def test_customers_are_created_once_and_make_calls(shared_stack, environ, eventually):
    results = [run(environ) for _ in range(2)]
    assert [result.returncode for result in results] == [0, 0], results
    all_counts = [json.loads(result.stdout.splitlines()[-1]) for result in results]
    assert all(counts["sent"] == counts["answered"] > 0 for counts in all_counts)
    answered = sum(counts["answered"] for counts in all_counts)
    eventually(lambda: count(shared_stack, environ, "SELECT count(*) FROM event WHERE key_id = ANY(%s)"), answered)
    disabled = "SELECT count(*) FROM key WHERE id = ANY(%s) AND status = 'disabled'"
    assert count(shared_stack, environ, disabled) == 1


@pytest.mark.long
def test_with_the_database_it_has_history_and_members(shared_stack, environ):
    result = run({**environ, "KEYGAUGE_DATABASE_URL": shared_stack.database_url, "DEMO_SECONDS": "0.1"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert profiles.ACCOUNTS[0].email in result.stdout
    past = "SELECT count(*) FROM event WHERE key_id = ANY(%s) AND time < now() - interval '1 day'"
    assert count(shared_stack, environ, past) > 10_000
    members = "SELECT count(*) FROM member WHERE account_id IN (SELECT account_id FROM key WHERE id = ANY(%s))"
    assert count(shared_stack, environ, members) == len(profiles.ACCOUNTS)
    new = "SELECT count(*) FROM key WHERE id = ANY(%s) AND created_at > now() - interval '1 day'"
    assert count(shared_stack, environ, new) == 1  # the visitor's


def test_sigterm_ends_it_with_its_totals(environ):
    environ = {name: value for name, value in environ.items() if name != "DEMO_SECONDS"}
    command = [sys.executable, "-u", "-m", "keygauge_demo.remote"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as traffic:
        traffic.stdout.readline()  # the first line of counts: there is traffic
        traffic.send_signal(signal.SIGTERM)
        last = traffic.stdout.readlines()[-1]
        assert traffic.wait(150) == 0
    assert json.loads(last)["answered"] > 0


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"KEYGAUGE_ADMIN_TOKEN": ""}, "KEYGAUGE_ADMIN_TOKEN is not set"),
        ({"KEYGAUGE_ADMIN_TOKEN": "wrong-token-0123456789"}, "refused POST /v1/plans: 401"),
        ({"KEYGAUGE_SERVICE_URL": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_errors_are_reported(environ, changed, text):
    result = run({**environ, **changed})
    assert result.returncode == 1
    assert text in result.stdout
    assert "Traceback" not in result.stderr
