"""HTTP API for reports: a process's counts, for comparison with the ledger."""

from __future__ import annotations

from flask import Blueprint, Response
from msgspec import Struct

from keygauge.protocol import Report
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.ledger import spool_service
from keygauge_keyservice.ledger.replicas import replica_counts
from keygauge_keyservice.web.bearer_auth import replica_only, service
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, message

blueprint = Blueprint("api_reports", __name__, url_prefix="/v1/reports")


class StoredReport(Struct):
    """The response to a stored report."""


@blueprint.post("")
@replica_only
def receive() -> Response:
    """Store a report."""
    report = message(Report, code="bad_report")
    with services().replica_connection() as connection:
        spool_service.claim(connection, report.spool, service())
        replica_counts.keep(connection, report)
    return answer(StoredReport, {})


PATHS = {
    "/v1/reports": {
        "post": Operation(
            "report",
            "Report a process's counts, for comparison with the ledger; sending it again changes nothing",
            body=Report,
            answer=StoredReport,
            problems=(413, 422),
            security="replica",
        )
    }
}
