"""Reports over HTTP: what a process counted, for the ledger to be compared with."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, request

from keygauge_keyservice.api.schema import INTEGER, TEXT, array, obj, operation, ref
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger import replica_counts
from keygauge_keyservice.web.bearer_auth import replica_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_reports", __name__, url_prefix="/v1/reports")


@blueprint.post("")
@replica_only
def receive() -> dict[str, Any]:
    """Keep a report."""
    report = replica_counts.parse(_document())
    with services().replica_connection() as connection:
        replica_counts.keep(connection, report)
    return {}


def _document() -> Any:
    try:
        return json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad_report", "The body is not JSON.") from error


_COUNT = {**INTEGER, "minimum": 0}
_HEX = {"type": "string", "pattern": "^[0-9a-f]{1,64}$"}
_HOUR = obj(
    {"hour": {**_COUNT, "multipleOf": replica_counts.HOUR_S}, "requests": _COUNT}
    | {"input_tokens": _COUNT, "output_tokens": _COUNT}
)

SCHEMAS = {
    "Report": obj(
        {"spool": _HEX, "replica": _HEX, "service": TEXT, "host": TEXT, "written": _COUNT}
        | {"hours": {**array(_HOUR), "maxItems": replica_counts.HOURS_MAX}}
    )
}

PATHS = {
    "/v1/reports": {
        "post": operation(
            "report",
            "What a process counted, for the ledger to be compared with; sent again, it changes nothing",
            body=ref("Report"),
            answer=obj({}),
            problems=(413, 422),
            security="replica",
        )
    }
}
