"""HTTP API for heartbeats."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response

from keygauge.protocol import Heartbeat, HeartbeatAnswer
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import message

blueprint = Blueprint("api_heartbeat", __name__, url_prefix="/v1/heartbeat")


@blueprint.post("")
@replica_only
def receive() -> Response:
    """Process a heartbeat."""
    sent = message(Heartbeat, code="bad_heartbeat")
    answer = services().heartbeats.answer(Received(sent, service() or ""))
    return Response(msgspec.json.encode(answer), content_type="application/json")


PATHS = {
    "/v1/heartbeat": {
        "post": Operation(
            "heartbeat",
            "A replica's heartbeat: changed keys, keys looked up, leases out and back",
            body=Heartbeat,
            answer=HeartbeatAnswer,
            problems=(413, 422),
            security="replica",
        )
    }
}
