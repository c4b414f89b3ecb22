"""Requests that a generator of requests found: wrong in one field, and answered as such."""

import pytest

SMOOTH = {"name": "rpm", "unit": "request", "amount": 5, "window_s": 60, "smooth": True}


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
