"""Plans: their prices, wrong fields, and whose answers a plan's routes give."""

import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import plans

SMOOTH = {"name": "rpm", "unit": "request", "amount": 5, "window_s": 60, "smooth": True}
RULES = ["/v1/chat/*=deepseek", "/local=vllm"]


@pytest.fixture
def plan(connection):
    return plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")


def test_rules_are_set_read_and_audited(client, operator, connection, plan):
    answer = client.put(
        f"/v1/plans/{plan.id}/providers", json={"providers": [" /v1/chat/* = deepseek", RULES[1]]}, headers=operator
    )
    assert (answer.status_code, answer.json["providers"]) == (200, RULES)
    assert client.get(f"/v1/plans/{plan.id}", headers=operator).json["providers"] == RULES
    row = connection.execute("SELECT after FROM audit WHERE action = 'plan.set_providers'").fetchone()
    assert row["after"] == {"providers": RULES}


@pytest.mark.parametrize("rules", [["chat=deepseek"], ["/v1/chat"], "/v1=a", [3], ["/v1=a"] * 51])
def test_wrong_rules_are_refused(client, operator, plan, rules):
    answer = client.put(f"/v1/plans/{plan.id}/providers", json={"providers": rules}, headers=operator)
    assert answer.status_code == 422


def test_a_plan_that_is_not_there_is_told(client, operator):
    assert client.put("/v1/plans/none/providers", json={"providers": RULES}, headers=operator).status_code == 404


def test_rules_are_set_and_shown_on_the_command_line(monkeypatch, database_url, tmp_path, capsys, connection, plan):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    assert main(["plans", "update", plan.id, *(f"--provider={rule}" for rule in RULES)]) == 0
    shown = capsys.readouterr().out
    assert all(rule in shown for rule in RULES)
    assert plans.require(connection, plan.id).providers == tuple(RULES)
    assert main(["plans", "update", plan.id, "--provider", "deepseek"]) == 1
    assert "PATH=PROVIDER" in capsys.readouterr().err
    assert main(["plans", "update", plan.id, "--no-providers"]) == 0
    assert plans.require(connection, plan.id).providers == ()


@pytest.mark.parametrize("field", ["window_s", "amount"])
@pytest.mark.parametrize("value", ["x", [], {}, 1.5, None, True])
def test_a_smooth_limit_with_a_wrong_number_is_refused(client, operator, field, value):
    plan = {"id": "p", "name": "P", "limits": [SMOOTH | {field: value}]}
    assert client.post("/v1/plans", json=plan, headers=operator).status_code == 422


def test_a_price_is_not_taken_away_by_an_empty_body(client, operator):
    client.post("/v1/plans", json={"id": "p", "name": "P", "limits": []}, headers=operator)
    answer = client.put("/v1/plans/p/price", json={"monthly_nanousd": 5_000_000_000}, headers=operator)
    assert answer.status_code == 200
    answer = client.put("/v1/plans/p/price", json={}, headers=operator)
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "missing")
    assert client.get("/v1/plans/p/price", headers=operator).json == {"monthly_nanousd": 5_000_000_000}
    assert client.put("/v1/plans/p/price", json={"monthly_nanousd": None}, headers=operator).status_code == 200
