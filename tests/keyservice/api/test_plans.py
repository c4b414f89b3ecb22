import pytest

from keygauge_keyservice.accounts import accounts, plans

RPM = {"name": "rpm", "unit": "request", "amount": 60, "window_s": 60}
MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 1000, "period": "month"}
SMOOTH = {"name": "rpm", "unit": "request", "amount": 5, "window_s": 60, "smooth": True}
RULES = ["/v1/chat/*=deepseek", "/local=vllm"]


@pytest.fixture
def plan(connection):
    return plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")


def test_provider_rules_are_set_read_and_audited(client, operator, connection, plan):
    answer = client.put(
        f"/v1/plans/{plan.id}/providers", json={"providers": [" /v1/chat/* = deepseek", RULES[1]]}, headers=operator
    )
    assert (answer.status_code, answer.json["providers"]) == (200, RULES)
    assert client.get(f"/v1/plans/{plan.id}", headers=operator).json["providers"] == RULES
    row = connection.execute("SELECT after FROM audit WHERE action = 'plan.set_providers'").fetchone()
    assert row["after"] == {"providers": RULES}


@pytest.mark.parametrize("rules", [["chat=deepseek"], ["/v1/chat"], "/v1=a", [3], ["/v1=a"] * 51])
def test_invalid_provider_rules_are_rejected(client, operator, plan, rules):
    answer = client.put(f"/v1/plans/{plan.id}/providers", json={"providers": rules}, headers=operator)
    assert answer.status_code == 422


def test_unknown_plan_is_404(client, operator):
    assert client.put("/v1/plans/none/providers", json={"providers": RULES}, headers=operator).status_code == 404


@pytest.mark.parametrize("field", ["window_s", "amount"])
@pytest.mark.parametrize("value", ["x", [], {}, 1.5, None, True])
def test_smooth_limit_with_an_invalid_number_is_rejected(client, operator, field, value):
    plan = {"id": "p", "name": "P", "limits": [SMOOTH | {field: value}]}
    assert client.post("/v1/plans", json=plan, headers=operator).status_code == 422


def test_plan_is_created_and_read(call):
    made = call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": [RPM, MONTHLY]}, status=201)
    assert [limit["name"] for limit in made["limits"]] == ["rpm", "monthly_requests"]
    others = ("route", "model", "output_default", "credit_nanousd", "weights", "unit_name", "tool")
    absent = dict.fromkeys(("period", "anchor", "zone", *others))
    chosen = {"subject": "account", "when_down": "closed", "when_unpriced": "admit"}
    assert made["limits"][0] == RPM | absent | chosen | dict.fromkeys(("dry_run", "smooth", "per_tag"), False)
    assert call("GET", "/v1/plans/pro") == made
    assert call("GET", "/v1/plans") == {"plans": [made], "next": None}
    assert call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": []}, status=409)["code"] == "plan_exists"


@pytest.mark.usefixtures("account")
def test_limits_are_replaced(call):
    plan = call("PUT", "/v1/plans/free/limits", {"limits": [RPM | {"amount": 5}]})
    assert [(limit["name"], limit["amount"]) for limit in plan["limits"]] == [("rpm", 5)]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"amount": -1}, "limits[0].amount", "wrong_number"),
        ({"amount": 2**53}, "limits[0].amount", "wrong_number"),
        ({"amount": 1.5}, "limits[0].amount", "wrong_number"),
        ({"amount": True}, "limits[0].amount", "wrong_number"),
        ({"amount": None}, "limits[0].amount", "missing"),
        ({"unit": "bananas"}, "limits[0].unit", "wrong_choice"),
        ({"unit": ["request"]}, "limits[0].unit", "wrong_choice"),
        ({"window_s": 0}, "limits[0].window_s", "wrong_number"),
        ({"window_s": 86401}, "limits[0].window_s", "wrong_number"),
        ({"period": "day"}, "limits[0].window_s", "wrong_window"),
        ({"window_s": None}, "limits[0].window_s", "wrong_window"),
        ({"unit": "concurrent"}, "limits[0].unit", "wrong_window"),
        ({"anchor": "2026-01-15"}, "limits[0].anchor", "wrong_period"),
        ({"zone": "Europe/Berlin"}, "limits[0].zone", "wrong_period"),
        ({"window_s": None, "period": "day", "anchor": "2026-01-15"}, "limits[0].anchor", "wrong_period"),
        ({"window_s": None, "period": "lifetime", "zone": "UTC"}, "limits[0].zone", "wrong_period"),
        ({"window_s": None, "period": "day", "zone": "+03:00"}, "limits[0].zone", "wrong_zone"),
        ({"window_s": None, "period": "month", "anchor": "2026-02-30"}, "limits[0].anchor", "wrong_time"),
        ({"unit": "credit"}, "limits[0].credit_nanousd", "wrong_unit"),
        ({"unit": "nanousd", "smooth": True}, "limits[0].smooth", "wrong_unit"),
        ({"unit": "token", "smooth": True}, "limits[0].smooth", "wrong_unit"),
        ({"amount": 10**8, "smooth": True}, "limits[0].smooth", "wrong_number"),
        ({"window_s": None, "period": "day", "smooth": True}, "limits[0].smooth", "wrong_window"),
        ({"credit_nanousd": 5}, "limits[0].credit_nanousd", "wrong_unit"),
        ({"unit": "credit", "credit_nanousd": 0}, "limits[0].credit_nanousd", "wrong_number"),
        ({"unit": "credit", "credit_nanousd": 2**50, "amount": 2**20}, "limits[0].amount", "wrong_number"),
        ({"when_unpriced": "refuse"}, "limits[0].when_unpriced", "wrong_unit"),
        ({"unit": "nanousd", "when_unpriced": "maybe"}, "limits[0].when_unpriced", "wrong_choice"),
        ({"unit": "nanousd", "amount": 0.5}, "limits[0].amount", "wrong_number"),
        ({"unit": "nanousd", "amount": "5 USD"}, "limits[0].amount", "wrong_number"),
        ({"name": "Über"}, "limits[0].name", "wrong_slug"),
        ({"name": ["rpm"]}, "limits[0].name", "wrong_slug"),
        ({"dry_run": "yes"}, "limits[0].dry_run", "wrong_type"),
        ({"burst": 5}, "limits[0].burst", "unknown_field"),
    ],
)
@pytest.mark.usefixtures("account")
def test_invalid_limit_is_rejected_without_changes(call, change, field, code):
    before = call("GET", "/v1/plans/free")
    problem = call("PUT", "/v1/plans/free/limits", {"limits": [RPM | change]}, status=422)
    assert (field, code) in {(error["field"], error["code"]) for error in problem["errors"]}
    assert call("GET", "/v1/plans/free") == before


def test_cost_limits_are_returned_as_sent(call):
    budget = {"name": "budget", "unit": "nanousd", "amount": 5 * 10**9, "period": "day", "when_unpriced": "refuse"}
    paid = {"name": "credits", "unit": "credit", "amount": 500, "credit_nanousd": 10**7, "period": "month"}
    made = call("POST", "/v1/plans", {"id": "paid", "name": "Paid", "limits": [budget, paid]}, status=201)["limits"]
    assert budget.items() <= made[0].items()
    assert paid.items() <= made[1].items()
    assert call("PUT", "/v1/plans/paid/limits", {"limits": made})["limits"] == made


def test_limits_with_the_same_name_are_rejected(call):
    problem = call("POST", "/v1/plans", {"id": "x", "name": "X", "limits": [RPM, RPM]}, status=422)
    assert problem["errors"][0]["code"] == "same_name"


def test_plans_are_paginated_by_id(call, walk):
    for plan in ("b", "a", "c"):
        call("POST", "/v1/plans", {"id": plan, "name": plan, "limits": []}, status=201)
    assert [plan["id"] for plan in walk("/v1/plans", "plans")] == ["a", "b", "c"]


def test_plan_is_deleted_only_if_no_account_or_invoice_needs_it(call, account, connection):
    call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": []}, status=201)
    refused = call("DELETE", "/v1/plans/free", status=409)
    assert refused["code"] == "plan_in_use"
    assert "1 account is on the plan 'free'" in refused["detail"]
    for plan_id in ("pro", "free"):
        accounts.change_plan(connection, account["id"], plan_id, actor="test")
    assert "invoices still need its price" in call("DELETE", "/v1/plans/pro", status=409)["detail"]
    connection.execute("UPDATE account_plan_before SET until = until - interval '90 days'")
    call("DELETE", "/v1/plans/pro", status=204)
    call("DELETE", "/v1/plans/pro", status=404)
    row = connection.execute("SELECT subject, before FROM audit WHERE action = 'plan.delete'").fetchone()
    assert (row["subject"], row["before"]["name"]) == ("pro", "Pro")
