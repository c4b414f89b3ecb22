import pytest
from msgspec import Struct

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.values.field_types import Name
from keygauge_keyservice.web import message


class Thing(Struct):
    name: Name
    counts: list[int] = []


def problem(call):
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


def test_body_is_parsed_regardless_of_its_content_type(app):
    with app.test_request_context("/", method="POST", data='{"name": "a", "counts": [1]}', content_type="text/plain"):
        assert message.body(Thing) == Thing("a", [1])


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_body_that_is_not_json_is_rejected(app, data):
    with app.test_request_context("/", method="POST", data=data):
        assert problem(lambda: message.body(Thing)).code == "invalid_json"


def test_decode_names_the_invalid_field_and_ignores_newer_fields():
    assert message.decode(Thing, b'{"name": "a", "newer": {}}', code="invalid_heartbeat") == Thing("a")
    for body, field in ((b'{"name": 3}', "name"), (b'{"name": "a", "counts": ["x"]}', "counts"), (b"3", "body")):
        wrong = problem(lambda body=body: message.decode(Thing, body, code="invalid_heartbeat"))
        assert (wrong.status, wrong.code) == (422, "invalid_heartbeat")
        assert wrong.errors[0].field.partition("[")[0] == field
    for body in (b"", b"{", b'{"name": "\xff"}'):
        assert "is not JSON" in str(problem(lambda body=body: message.decode(Thing, body, code="invalid_heartbeat")))


def test_response_has_only_the_fields_of_its_type(app):
    with app.test_request_context("/"):
        answer = message.answer(Thing, {"name": "a", "counts": [2**53], "secret": "x"}, 201)
    assert (answer.status_code, answer.get_data()) == (201, b'{"name":"a","counts":[9007199254740992]}')
