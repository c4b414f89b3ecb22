import pytest

from keygauge_keyservice.app import create_app


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/plans/none", "plan_not_found"),
        ("GET", "/v1/accounts/none", "account_not_found"),
        ("GET", "/v1/accounts/none/keys", "account_not_found"),
        ("GET", "/v1/keys/none", "key_not_found"),
        ("DELETE", "/v1/keys/none", "key_not_found"),
        ("GET", "/v1/nothing", "not_found"),
        ("GET", "/v1/keys/%00", "not_found"),
    ],
)
def test_unknown_objects_and_paths_are_404(client, operator, method, path, code):
    answer = client.open(path, method=method, headers=operator)
    assert (answer.status_code, answer.json["code"]) == (404, code)


def test_query_with_a_nul_byte_is_rejected_with_its_field(client, operator):
    answer = client.get("/v1/accounts?limit=5&after=a%00", headers=operator)
    assert answer.status_code == 422
    assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [("after", "wrong_text")]


@pytest.mark.parametrize(("proxies", "seen"), [(0, "127.0.0.1"), (1, "198.51.100.9"), (2, "203.0.113.5")])
def test_client_address_is_read_through_trusted_proxies_only(settings, connection, proxies, seen):
    app = create_app(type(settings)(**vars(settings) | {"proxies": proxies}))
    forwarded = {"X-Forwarded-For": "203.0.113.5, 198.51.100.9"}
    app.test_client().post("/sign-in", data={"email": "a@b.example", "password": "x"}, headers=forwarded)
    app.extensions["keygauge"].close()
    assert connection.execute("SELECT ip FROM sign_in_failure").fetchone()["ip"] == seen
