"""The beat over HTTP."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request

from keygauge_keyservice import heartbeat_message
from keygauge_keyservice.api.schema import FLAG, INTEGER, TEXT, array, enum, nullable, obj, operation, ref
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.heartbeat_message import ENTRIES_MAX
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.web.bearer_auth import replica_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_beat", __name__, url_prefix="/v1/beat")


@blueprint.post("")
@replica_only
def receive() -> Response:
    """Apply a beat."""
    message = heartbeat_message.parse(_document())
    with services().replica_connection() as connection:
        answer = heartbeat.answer(connection, message, peppers=services().settings.peppers, prices=services().prices)
    return Response(json.dumps(answer, separators=(",", ":")), content_type="application/json")


def _document() -> Any:
    try:
        return json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad_beat", "The body is not JSON.") from error


_COUNT = {**INTEGER, "minimum": 0}
_HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _some(items: dict[str, Any]) -> dict[str, Any]:
    return {**array(items), "maxItems": ENTRIES_MAX}


SCHEMAS = {
    "Beat": obj(
        {
            "replica": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "service": TEXT,
            "host": TEXT,
            "version": TEXT,
            "mode": enum("enforce", "observe"),
        },
        {
            "cursor": nullable(_COUNT),
            "epoch": nullable(TEXT),
            "clock": nullable(obj({"name": TEXT, "us": _COUNT})),
            "look_up": _some(obj({"key": TEXT, "digest": _HEX})),
            "acquire": _some(obj({"limit": TEXT, "units": {**INTEGER, "minimum": 1}}, {"waiting": _COUNT})),
            "hold": _some(obj({"lease": TEXT, "units": {**INTEGER, "minimum": 1}})),
            "return": _some(obj({"lease": TEXT}, {"unspent": _COUNT, "ago_us": _COUNT, "exact": FLAG, "used": _COUNT})),
            "prices": nullable(
                obj(
                    {
                        "state": nullable(TEXT),
                        "want": _some(obj({"model": TEXT}, {"tariff": nullable(TEXT), "provider": nullable(TEXT)})),
                    }
                )
            ),
        },
    ),
    "KeyEntry": obj(
        {
            "id": TEXT,
            "account": TEXT,
            "name": TEXT,
            "plan": TEXT,
            "environment": enum("live", "test"),
            "status": enum("active", "disabled", "deleted", "suspended"),
            "expires_at": nullable(INTEGER),
            "tariff": nullable(TEXT),
            "secrets": array(obj({"number": INTEGER, "expires_at": nullable(INTEGER)})),
            "limits": array(
                obj(
                    {
                        "id": TEXT,
                        "name": TEXT,
                        "unit": enum("request", "token", "nanousd", "concurrent"),
                        "amount": _COUNT,
                        "window_s": nullable(INTEGER),
                        "period": nullable(enum("day", "month")),
                        "when_down": enum("closed", "safe"),
                        "dry_run": FLAG,
                        "route": nullable(TEXT),
                        "model": nullable(TEXT),
                        "output_default": nullable(INTEGER),
                        "when_unpriced": enum("admit", "refuse"),
                    }
                )
            ),
        }
    ),
    "BeatAnswer": obj(
        {
            "cursor": _COUNT,
            "epoch": TEXT,
            "more": FLAG,
            "afresh": FLAG,
            "t_max_ms": _COUNT,
            "replicas": {**INTEGER, "minimum": 1},
            "found": array(obj({"digest": _HEX, "key": TEXT, "secret": INTEGER})),
            "unknown": array(_HEX),
            "keys": array(ref("KeyEntry")),
            "prices": nullable(obj({"state": TEXT, "rates": array(array({"type": "array", "items": {}}))})),
            "held": array(obj({"lease": TEXT, "left_ms": _COUNT, "small": FLAG})),
            "grants": array(
                obj(
                    {
                        "limit": TEXT,
                        "lease": TEXT,
                        "units": _COUNT,
                        "start_us": _COUNT,
                        "wait_us": _COUNT,
                        "left_ms": _COUNT,
                        "exact": FLAG,
                        "small": FLAG,
                        "remaining": _COUNT,
                        "reset_ms": _COUNT,
                    }
                )
            ),
            "denials": array(
                obj({"limit": TEXT, "retry_ms": _COUNT, "remaining": _COUNT, "reset_ms": _COUNT, "small": FLAG})
            ),
        }
    ),
}

PATHS = {
    "/v1/beat": {
        "post": operation(
            "beat",
            "A replica's beat: changed keys, keys looked up, leases out and back",
            body=ref("Beat"),
            answer=ref("BeatAnswer"),
            problems=(413, 422),
            security="replica",
        )
    }
}
