import re

from openapi_spec_validator import validate

from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document


def test_document_is_valid():
    validate(document(API))


def test_document_describes_exactly_the_routes(app):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/")
    }
    described = {(path, method) for path, item in document(API)["paths"].items() for method in item}
    assert routes == described


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for item in document(API)["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_document_is_public(client):
    answer = client.get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.0"
