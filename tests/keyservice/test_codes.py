"""The listed error codes are exactly those that the key service raises."""

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
}  # position of the code among the arguments
OF_BODIES = ("message", "decode")  # these take the code for an invalid body as a keyword argument


def raised():
    """Yield the callee and the error code of each call that raises one."""
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


def test_raised_codes_are_the_listed_ones():
    of_framework = {code for code, _ in OF_FRAMEWORK.values()}
    assert {code for name, code in raised() if name == "Problem"} | of_framework | {"internal"} == set(CODES)
    assert {code for name, code in raised() if name != "Problem"} == FIELD_CODES


def test_document_lists_the_codes():
    schemas = document(API)["components"]["schemas"]
    assert schemas["Problem"]["properties"]["code"]["enum"] == list(CODES)
    assert schemas["FieldError"]["properties"]["code"]["enum"] == sorted(FIELD_CODES)


@pytest.mark.parametrize("status", sorted({*OF_FRAMEWORK, 408, 414, 418, 431, 501}))
def test_framework_errors_have_our_codes_and_titles(app, status):
    @app.get("/refused")
    def refused():
        abort(status, "what a library says")

    answer = app.test_client().get("/refused")
    assert answer.status_code == status
    assert answer.json["code"] in CODES
    assert answer.json["title"] == CODES[answer.json["code"]]
    assert "library" not in answer.text
