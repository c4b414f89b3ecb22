"""Descriptions of the API's operations, which are defined next to the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from inspect import cleandoc
from typing import Any, Protocol, TypeAlias

import msgspec
from flask import Blueprint
from msgspec import Struct

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Operation:
    """One method of a path."""

    operation_id: str
    summary: str
    _: KW_ONLY
    answer: type[Struct] | None = None  # None: the response has no body
    status: int = 200
    also: tuple[int, ...] = ()  # other statuses with the same response body
    body: type[Struct] | None = None
    lines: str | None = None  # what a line of a body is that is not a JSON object
    query: type[Struct] | None = None
    problems: tuple[int, ...] = ()
    security: str = "operator"


class Part(Protocol):
    """A module of the API: its blueprint and its operations."""

    @property
    def blueprint(self) -> Blueprint:
        """The views."""

    @property
    def PATHS(self) -> Mapping[str, Mapping[str, Operation]]:  # noqa: N802 - a constant of the module
        """Operations by path and method."""


def components(kinds: Sequence[type[Struct]]) -> dict[str, Schema]:
    """Return the JSON schemas of message types and of the types within them, by name."""
    described: dict[str, Schema] = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)[1]
    for schema in described.values():
        if "description" in schema:  # a docstring, whose indentation Python 3.13 removes
            schema["description"] = cleandoc(schema["description"])
    return described


def ref(kind: type[Struct]) -> Schema:
    """Return a reference to a type's schema."""
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def parameters(query: type[Struct]) -> list[Schema]:
    """Return the OpenAPI parameters for the fields of a query."""
    described = components([query])[query.__name__]
    required = described.get("required", ())
    return [_parameter(name, schema, required=name in required) for name, schema in described["properties"].items()]


def _parameter(name: str, schema: Schema, *, required: bool) -> Schema:
    """Return one OpenAPI parameter; an optional query field is never null."""
    own = {key: value for key, value in schema.items() if key != "default" or value is not None}
    for one in own.pop("anyOf", ()):
        if one != {"type": "null"}:
            own |= one
    description = own.pop("description", None)
    described: Schema = {"name": name, "in": "query", "required": required, "schema": own}
    return described | ({"description": description} if description else {})
