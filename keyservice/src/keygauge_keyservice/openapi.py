"""The OpenAPI document, put together from the parts that stand beside the blueprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from flask import Blueprint, Response, jsonify

from keygauge_keyservice.api import samples
from keygauge_keyservice.api.schema import IDEMPOTENCY, INTEGER, TEXT, array, enum, obj, ref, refusals
from keygauge_keyservice.codes import CODES, FIELD_CODES


class Part(Protocol):
    """A module of the API: its blueprint, and its paths and schemas in the document."""

    @property
    def blueprint(self) -> Blueprint:
        """The views."""

    @property
    def PATHS(self) -> Mapping[str, Mapping[str, Any]]:  # noqa: N802 - a constant of the module
        """Path items by path."""

    @property
    def SCHEMAS(self) -> Mapping[str, Mapping[str, Any]]:  # noqa: N802 - a constant of the module
        """Schemas by name."""


_PROBLEM = obj(
    {"type": TEXT, "title": TEXT, "status": INTEGER, "code": enum(*CODES), "detail": TEXT},
    {"errors": array(ref("FieldError"))},
)
_FIELD_ERROR = obj({"field": TEXT, "code": enum(*sorted(FIELD_CODES)), "detail": TEXT})
_WRITES = frozenset(("post", "put", "patch", "delete"))
_QUESTIONS = frozenset(("queryUsage",))  # POST, but they change nothing
_SELF = {
    "get": {
        "operationId": "readDocument",
        "summary": "Read this document",
        "security": [],
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}},
    }
}


def blueprint(parts: Sequence[Part]) -> Blueprint:
    """Serve the document of these parts at /v1/openapi.json."""
    serving, described = Blueprint("openapi", __name__), document(parts)

    @serving.get("/v1/openapi.json")
    def read() -> Response:
        return jsonify(described)

    return serving


def document(parts: Sequence[Part]) -> dict[str, Any]:
    """Put the document together."""
    paths: dict[str, Any] = {"/v1/openapi.json": _SELF}
    schemas: dict[str, Any] = {"Problem": _PROBLEM, "FieldError": _FIELD_ERROR}
    for part in parts:
        paths.update({path: _item(item) for path, item in part.PATHS.items()})
        schemas.update(part.SCHEMAS)
    samples.add(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "KeyGauge key service", "version": version("keygauge-keyservice")},
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "KEYGAUGE_ADMIN_TOKEN, or an admin token",
                },
                "key": {"type": "http", "scheme": "bearer", "description": "an API key, for what is its own"},
                "replica": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "KEYGAUGE_SERVICE_TOKEN, or a service's",
                },
            },
        },
    }


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a path's operations: every write of an operator takes an Idempotency-Key."""
    return {method: _write(operation) if method in _WRITES else operation for method, operation in item.items()}


def _write(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    if operation["security"] != [{"operator": []}] or operation["operationId"] in _QUESTIONS:
        return operation
    return {
        **operation,
        "parameters": [*operation.get("parameters", []), IDEMPOTENCY],
        "responses": dict(sorted({**refusals(403, 409, 422), **operation["responses"]}.items())),
    }
