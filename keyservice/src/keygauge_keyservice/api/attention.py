"""What needs attention over HTTP: the portal's list of an account, for those who watch by program."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from flask import Blueprint

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import TEXT, array, enum, nullable, obj, operation, path, ref
from keygauge_keyservice.portal import notices
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_attention", __name__, url_prefix="/v1/accounts")


@blueprint.get("/<account_id>/attention")
@operator_only
def read(account_id: str) -> dict[str, Any]:
    """Tell what needs attention in an account, the most urgent first."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = notices.find(connection, account_id, now=datetime.now(UTC))
    return {
        "remarks": [
            {"kind": one.kind, "key": one.key_id, "text": one.text, "portal_path": one.address} for one in found
        ]
    }


SCHEMAS = {
    "Remark": obj({"kind": enum(*get_args(notices.Kind)), "key": nullable(TEXT), "text": TEXT, "portal_path": TEXT})
}

PATHS = {
    "/v1/accounts/{account_id}/attention": {
        "get": operation(
            "readAttention",
            "Tell what needs attention in an account, the most urgent first: quotas that run out, keys used from new "
            "addresses, repeated 4xx, expiry, overdue rotation, disuse",
            parameters=[path("account_id")],
            answer=obj({"remarks": array(ref("Remark"))}),
            problems=(404,),
        )
    }
}
