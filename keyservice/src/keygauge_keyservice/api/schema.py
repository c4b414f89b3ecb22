"""Building blocks of the OpenAPI parts that stand beside the blueprints."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
INTEGER: Schema = {"type": "integer"}
COUNTS: Schema = {"type": "object", "additionalProperties": INTEGER}
FLAG: Schema = {"type": "boolean"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
SLUG: Schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"}

_PROBLEMS = {
    401: "The bearer token is missing or wrong.",
    403: "It may not be used for this: it is beyond its scope, or from another address.",
    404: "There is no such thing.",
    409: "It is not in a state that allows this.",
    413: "The body is too large.",
    422: "The request is wrong; nothing was changed.",
    503: "The database is not available.",
}


def components(*kinds: type) -> dict[str, Schema]:
    """Describe types of messages, and those within them, each by its name."""
    return msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")[1]


def ref(name: str) -> Schema:
    """Point at a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """Allow null too."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    """Make a list."""
    return {"type": "array", "items": items}


def enum(*words: str) -> Schema:
    """Allow some words only."""
    return {"type": "string", "enum": list(words)}


def obj(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Make an object of required and optional fields."""
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    return {**schema, "required": list(required)} if required else schema


def path(name: str) -> Schema:
    """Make a parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def query(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
    """Make a parameter in the query."""
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": description}


PAGE = [
    query("after", TEXT, "the `next` of the page before"),
    query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}, "how many at most"),
]


IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "description": "sent again with the same key within a day, it is done once; secrets are null in the second answer",
}


def refusals(*statuses: int) -> Schema:
    """Describe answers that say what was wrong."""
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses}


def operation(
    operation_id: str,
    summary: str,
    *,
    answer: Schema | None = None,
    status: int = 200,
    also: tuple[int, ...] = (),
    body: Schema | None = None,
    parameters: list[Schema] | None = None,
    problems: tuple[int, ...] = (),
    security: str = "operator",
) -> Schema:
    """Describe one method of one path; without `answer` it has no body. `also`: other statuses of the same answer."""
    content = {"content": {"application/json": {"schema": answer}}} if answer else {}
    if any(parameter["name"] == "format" for parameter in parameters or []):
        content["content"]["text/csv"] = {"schema": TEXT}
    responses: Schema = {str(code): {"description": "Done.", **content} for code in (status, *also)}
    responses |= refusals(*sorted({401, 503, *problems}))
    described: Schema = {
        "operationId": operation_id,
        "summary": summary,
        "responses": responses,
        "security": [{security: []}],
    }
    if parameters:
        described["parameters"] = parameters
    if body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described
