"""HTTP API for heartbeats."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response, request

from keygauge.protocol import Heartbeat, HeartbeatAnswer
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import decode

blueprint = Blueprint("api_heartbeat", __name__, url_prefix="/v1/heartbeat")


@blueprint.post("")
@replica_only
def receive() -> Response:
    """Process a heartbeat."""
    received = read(request.get_data(cache=False), service())
    answer = services().heartbeats.submit(received).result()
    return Response(msgspec.json.encode(answer), content_type="application/json")


def read(body: bytes, service: str | None) -> Received:
    """Read the body of a service's heartbeat; None is the service of the environment's token.

    Raises:
        Problem: 422 if the body is not JSON or not a heartbeat.
    """
    return Received(decode(Heartbeat, body, code="bad_heartbeat"), service or "")


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
