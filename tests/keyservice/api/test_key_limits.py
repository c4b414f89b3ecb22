def test_key_limits_are_set_and_validated(call, key):
    path = f"/v1/keys/{key['id']}/limits"
    assert call("GET", path) == {"limits": []}
    limit = {"name": "own", "unit": "token", "amount": 500, "window_s": 60, "route": "/chat", "output_default": 50}
    (made,) = call("PUT", path, {"limits": [limit]})["limits"]
    assert limit.items() <= made.items()
    assert made["subject"] == "key"
    for wrong in (
        {"unit": "concurrent", "amount": 1},
        {"amount": -1},
        {"window_s": 0},
        {"window_s": 90_000},
        {"unit": "moons"},
        {"unit": "request"},
        {"output_default": 0},
    ):
        call("PUT", path, {"limits": [limit | wrong]}, status=422)
    assert call("GET", path) == {"limits": [made]}
