"""HTTP API for what needs attention: the portal's list for an account."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response
from msgspec import Struct, field

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.portal import alerts
from keygauge_keyservice.web.bearer_auth import owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer

blueprint = Blueprint("api_attention", __name__, url_prefix="/v1/accounts")


class Alert(Struct):
    """Something that needs attention; `key` is null if it concerns the whole account."""

    kind: alerts.Kind
    key_id: str | None = field(name="key")
    text: str
    address: str = field(name="portal_path")


class Attention(Struct):
    """What needs attention."""

    remarks: list[Alert]


@blueprint.get("/<account_id>/attention")
@owners_too
def read(account_id: str) -> Response:
    """List what needs attention in an account, most urgent first."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = alerts.find(connection, account_id, now=datetime.now(UTC))
    return answer(Attention, {"remarks": found})


PATHS = {
    "/v1/accounts/{account_id}/attention": {
        "get": Operation(
            "readAttention",
            "List what needs attention in an account, most urgent first: quotas that run out, keys used from new "
            "addresses, repeated 4xx, expiry, overdue rotation, disuse",
            answer=Attention,
            problems=(404,),
            security="account",
        )
    }
}
