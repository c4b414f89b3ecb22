"""The OpenAPI document, built from the operations that are defined next to the views."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, jsonify

from keygauge_keyservice.api.document import samples
from keygauge_keyservice.api.document.schema import TEXT, Operation, Part, Schema, components, parameters, ref
from keygauge_keyservice.codes import CODES, FIELD_CODES

_WRITES = frozenset(("post", "put", "patch", "delete"))
_QUESTION = "queryUsage"  # a POST that changes nothing
_REFUSALS = {
    401: "The bearer token is missing or incorrect.",
    403: "The credential can't be used for this: it is out of its scope, or comes from another address.",
    404: "Not found.",
    409: "The resource's current state doesn't allow this.",
    413: "The body is too large.",
    422: "The request is invalid. Nothing was changed.",
    429: "This address sent too many credentials that don't exist.",
    503: "The database is unavailable.",
}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "description": "A request repeated with the same key within a day is done once; its secrets are null.",
}
_SELF = {
    "get": {
        "operationId": "readDocument",
        "summary": "Read this document",
        "security": [],
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}},
    }
}
_SECURITY = {
    "operator": {"type": "http", "scheme": "bearer", "description": "KEYGAUGE_ADMIN_TOKEN, or an admin token"},
    "account": {"type": "http", "scheme": "bearer", "description": "an account's token, for what is the account's"},
    "key": {"type": "http", "scheme": "bearer", "description": "an API key, for what is its own"},
    "replica": {"type": "http", "scheme": "bearer", "description": "KEYGAUGE_SERVICE_TOKEN, or a service's"},
}
_LOOKED_UP = frozenset(("key", "account"))  # credentials that cost a query each
_OF_OPERATORS = frozenset(("operator", "account"))  # an operator's token is accepted
_parameters_of = re.compile(r"{(\w+)}").findall


def blueprint(parts: Sequence[Part]) -> Blueprint:
    """Return a blueprint that serves the document of these parts at /v1/openapi.json."""
    serving = Blueprint("openapi", __name__)

    @cache
    def described() -> dict[str, Any]:
        return document(parts)

    @serving.get("/v1/openapi.json")
    def read() -> Response:
        return jsonify(described())

    return serving


def document(parts: Sequence[Part]) -> dict[str, Any]:
    """Build the document."""
    operations = {path: item for part in parts for path, item in part.PATHS.items()}
    paths: dict[str, Any] = {
        path: {method: _described(method, path, operation) for method, operation in item.items()}
        for path, item in operations.items()
    }
    samples.add(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "KeyGauge key service", "version": version("keygauge-keyservice")},
        "servers": [{"url": "/"}],
        "paths": dict(sorted({"/v1/openapi.json": _SELF, **paths}.items())),
        "components": {
            "schemas": _schemas(operation for item in operations.values() for operation in item.values()),
            "securitySchemes": _SECURITY,
        },
    }


def _schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    kinds = {kind for operation in operations for kind in (operation.answer, operation.body) if kind}
    return dict(sorted({**_ERRORS, **components(list(kinds))}.items()))


def _described(method: str, path: str, operation: Operation) -> Schema:
    problems = {401, 503, *operation.problems}
    if operation.security in _LOOKED_UP:
        problems.add(429)
    if operation.security in _OF_OPERATORS:
        problems.add(403)
    given = [_path_parameter(name) for name in _parameters_of(path)]
    given += parameters(operation.query) if operation.query else []
    if (
        operation.security in _OF_OPERATORS and method in _WRITES and operation.operation_id != _QUESTION
    ):  # every write of an operator or owner may be retried
        given.append(_IDEMPOTENCY)
        problems |= {403, 409, 422}
    described: Schema = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "responses": _answers(operation, given) | _refusals(problems),
        "security": [{"operator": []}, {"account": []}]
        if operation.security == "account"
        else [{operation.security: []}],
    }
    if given:
        described["parameters"] = given
    if operation.body:
        content: Schema = {"application/json": {"schema": ref(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.lines:
        content = {"application/x-ndjson": {"schema": TEXT}}
        described["requestBody"] = {"required": True, "description": operation.lines, "content": content}
    return described


def _answers(operation: Operation, given: Sequence[Schema]) -> Schema:
    content: Schema = {"application/json": {"schema": ref(operation.answer)}} if operation.answer else {}
    if any(parameter["name"] == "format" for parameter in given):
        content["text/csv"] = {"schema": TEXT}
    answer = {"description": "Done.", **({"content": content} if content else {})}
    return {str(status): answer for status in (operation.status, *operation.also)}


def _refusals(statuses: Iterable[int]) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": _REFUSALS[status], "content": content} for status in sorted(statuses)}


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _words(words: Iterable[str]) -> Schema:
    return {"type": "string", "enum": list(words)}


_ERRORS = {
    "Problem": _object(
        {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "code": _words(CODES), "detail": TEXT},
        errors={"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    ),
    "FieldError": _object({"field": TEXT, "code": _words(sorted(FIELD_CODES)), "detail": TEXT}),
}
