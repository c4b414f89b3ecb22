"""Reports over HTTP: what a process counted, for the ledger to be compared with."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from keygauge.protocol import Report
from keygauge_keyservice.api.schema import components, obj, operation, ref
from keygauge_keyservice.ledger import replica_counts, spool_service
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import message

blueprint = Blueprint("api_reports", __name__, url_prefix="/v1/reports")


@blueprint.post("")
@replica_only
def receive() -> dict[str, Any]:
    """Keep a report."""
    report = message(Report, code="bad_report")
    with services().replica_connection() as connection:
        spool_service.claim(connection, report.spool, service())
        replica_counts.keep(connection, report)
    return {}


SCHEMAS = components(Report)

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
