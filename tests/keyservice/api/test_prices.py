import pytest


def test_prices_are_paginated_by_model_newest_first(client, operator, walk):
    for model, day in (("y", 1), ("x", 1), ("x", 3), ("x", 2), ("x", 2)):
        valid_from = f"2026-11-0{day}T00:00:00Z"
        body = {"model": model, "valid_from": valid_from, "tiers": [{"input": 1, "output": 2}]}
        assert client.post("/v1/prices", json=body, headers=operator).status_code == 201
    paged = walk("/v1/prices", "prices")
    assert [(price["model"], price["valid_from"][9]) for price in paged] == [
        *(("x", "3"), ("x", "2"), ("x", "2"), ("x", "1"), ("y", "1"))
    ]
    assert paged == client.get("/v1/prices", headers=operator).json["prices"]
    assert client.get("/v1/prices?after=x", headers=operator).status_code == 422


@pytest.mark.parametrize(
    "change", [{"tiers": []}, {"tiers": [{"input": -1}]}, {"model": ""}, {"account": "nobody"}, {"more": 1}]
)
def test_invalid_price_is_rejected(client, operator, change):
    body = {"model": "m", "tiers": [{"input": 1}]} | change
    assert client.post("/v1/prices", json=body, headers=operator).status_code in {404, 422}
    assert client.get("/v1/prices", headers=operator).json["prices"] == []


def test_prices_are_for_operators_only(client, replica):
    assert client.get("/v1/prices", headers=replica).status_code in {401, 403}
