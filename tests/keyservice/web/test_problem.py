import logging

import psycopg
import pytest

from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.web.context import services

NOWHERE = Settings(
    database_url="postgresql://127.0.0.1:1/none?password=hush",
    service_token="s" * 20,
    admin_token="a" * 20,
    peppers=Peppers.parse("1:" + "00" * 32),
)


@pytest.fixture
def app():
    app = create_app(NOWHERE)

    @app.get("/broken")
    def broken():
        raise RuntimeError("a secret detail")

    @app.get("/wrong")
    def wrong():
        raise invalid(FieldError("name", "missing", "is required"))

    @app.get("/database")
    def database():
        with services().connection():
            return ""

    @app.get("/late")
    def late():
        raise psycopg.errors.ForeignKeyViolation("a secret detail")

    return app


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "not_found"),
        ("POST", "/broken", 405, "method_not_allowed"),
        ("GET", "/broken", 500, "internal"),
        ("GET", "/wrong", 422, "invalid"),
        ("GET", "/late", 409, "changed_meanwhile"),
    ],
)
def test_all_errors_have_the_same_shape(client, method, path, status, code):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == code
    assert {"type", "title", "status", "code", "detail"} <= answer.json.keys()


def test_field_errors_are_listed(client):
    assert client.get("/wrong").json["errors"] == [{"field": "name", "code": "missing", "detail": "is required"}]


def test_internal_error_is_logged_and_not_leaked(client, caplog):
    with caplog.at_level(logging.ERROR):
        answer = client.get("/broken")
    assert "a secret detail" not in answer.text
    assert "a secret detail" in caplog.text


def test_allowed_methods_are_named(client):
    assert "GET" in client.post("/broken").headers["Allow"]


def test_body_that_is_too_large_is_rejected(client):
    answer = client.post("/v1/accounts", data=b"x" * (2 << 20), headers={"Authorization": "Bearer " + "a" * 20})
    assert answer.status_code == 413
    assert answer.json["code"] == "request_too_large"


def test_unavailable_database_is_503_with_retry_after(client, app, caplog):
    app.extensions["keygauge"].page_pool.timeout = 0.2
    answer = client.get("/database")
    app.extensions["keygauge"].close()
    assert answer.status_code == 503
    assert answer.json["code"] == "database_unavailable"
    assert answer.headers["Retry-After"] == "1"
    assert "hush" not in caplog.text
