"""Every error code that the key service raises is in its list, and the list has no other."""

import ast
from pathlib import Path

import pytest
from flask import abort

import keygauge_keyservice
from keygauge_keyservice.app import API
from keygauge_keyservice.codes import CODES, FIELD_CODES, OF_FRAMEWORK
from keygauge_keyservice.openapi import document

PLACES = {
    "Problem": 1,
    "FieldError": 1,
    "checked": 1,
    "fail": 1,
    "_fail": 1,
    "refuse": 2,
}  # where in a call the code stands
OF_BODIES = ("message", "decode")  # their `code` is that of a body that is not as it should be


def raised():
    """Yield the name of what is called and the code it is called with."""
    for file in Path(keygauge_keyservice.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = PLACES.get(name)
            if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                yield "Problem" if name == "refuse" else name, node.args[place].value
            if name in OF_BODIES:
                yield from (
                    ("Problem", given.value.value) for given in node.keywords if isinstance(given.value, ast.Constant)
                )
            if name == "not_found":
                yield "Problem", f"{node.args[0].value}_not_found"


def test_codes_that_are_raised_are_listed():
    of_framework = {code for code, _ in OF_FRAMEWORK.values()}
    assert {code for name, code in raised() if name == "Problem"} | of_framework | {"internal"} == set(CODES)
    assert {code for name, code in raised() if name != "Problem"} == FIELD_CODES


def test_codes_are_in_the_document():
    schemas = document(API)["components"]["schemas"]
    assert schemas["Problem"]["properties"]["code"]["enum"] == list(CODES)
    assert schemas["FieldError"]["properties"]["code"]["enum"] == sorted(FIELD_CODES)


@pytest.mark.parametrize("status", sorted({*OF_FRAMEWORK, 408, 414, 418, 431, 501}))
def test_what_the_framework_refuses_is_told_in_our_words(app, status):
    @app.get("/refused")
    def refused():
        abort(status, "what a library says")

    answer = app.test_client().get("/refused")
    assert answer.status_code == status
    assert answer.json["code"] in CODES
    assert answer.json["title"] == CODES[answer.json["code"]]
    assert "library" not in answer.text
