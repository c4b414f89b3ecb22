import json

import pytest

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.connection.client import Api, ApiError, connect


class Service:
    """A service that returns the given responses and records the requests."""

    def __init__(self, *answers):
        self.answers, self.received = list(answers), []

    def __call__(self, method, path, query, body):
        self.received.append((method, path, dict(query), body))
        status, document = self.answers.pop(0)
        return status, document if isinstance(document, bytes) else json.dumps(document).encode()


def test_paths_are_quoted_and_none_is_left_out_of_queries():
    service = Service((200, {"id": "a"}))
    assert Api(service).get("keys", "a/../b?c", plan=None, limit=5) == {"id": "a"}
    assert service.received == [("GET", "/v1/keys/a%2F..%2Fb%3Fc", {"limit": "5"}, None)]


def test_methods_with_a_body_send_one_and_an_empty_response_is_an_empty_document():
    service = Service(*[(204, b"")] * 4)
    api = Api(service)
    assert [api.post("a"), api.put("a", body={"b": 1}), api.patch("a", body={}), api.delete("a")] == [{}] * 4
    assert [(method, body) for method, _, _, body in service.received] == [
        *(("POST", {}), ("PUT", {"b": 1}), ("PATCH", {}), ("DELETE", None))
    ]


def test_list_is_read_page_by_page_up_to_its_maximum():
    pages = [(200, {"keys": [1, 2], "next": "n"}), (200, {"keys": [3], "next": None})]
    service = Service(*pages)
    assert list(Api(service).all("keys", field="keys")) == [1, 2, 3]
    assert [query for _, _, query, _ in service.received] == [{"limit": "500"}, {"limit": "500", "after": "n"}]
    short = Service(*pages)
    assert list(Api(short).all("keys", field="keys", most=2)) == [1, 2]
    assert [query for _, _, query, _ in short.received] == [{"limit": "2"}]
    assert list(Api(Service()).all("keys", field="keys", most=0)) == []


def test_error_uses_the_names_of_the_command_line():
    problem = {"errors": [{"field": "monthly_nanousd", "code": "wrong", "detail": "must be a number"}]}
    with pytest.raises(ApiError, match="--price must be a number") as caught:
        Api(Service((422, problem))).patch("plans", "p", body={})
    assert caught.value.status == 422


@pytest.mark.parametrize("answer", [(200, b"<html>"), (502, b"<html>"), (200, b"[]"), (500, b"3")])
def test_response_of_another_program_is_an_error(answer):
    with pytest.raises(CommandError):
        Api(Service(answer)).get("keys")


@pytest.mark.parametrize(
    ("url", "token", "message"), [("keys.example", "t", "use a full one for --url"), ("http://x", None, "token")]
)
def test_invalid_address_or_missing_token_is_reported(url, token, message):
    with pytest.raises(CommandError, match=message), connect(url, token):
        pass
