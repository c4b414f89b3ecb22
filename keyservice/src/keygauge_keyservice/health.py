"""Health checks: liveness and readiness."""

from __future__ import annotations

from time import monotonic

from flask import Blueprint, current_app

from keygauge_keyservice import database
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import pepper_check
from keygauge_keyservice.secret import PepperError
from keygauge_keyservice.web.context import services

_READY_S = 1.0  # how long a check is cached, so that strangers cannot keep the database busy
_READY_UNTIL = "keygauge_ready_until"
_SOON = {"Retry-After": "1"}

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def live() -> dict[str, str]:
    """Report that the process is alive; restart it when this fails."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> dict[str, str]:
    """Report that the database is reachable, writable and migrated; send traffic only then."""
    known = current_app.extensions
    if monotonic() >= known.get(_READY_UNTIL, 0.0):
        with services().replica_connection() as connection:
            _check(connection, services().settings)
        known[_READY_UNTIL] = monotonic() + _READY_S
    return {"status": "ok"}


def _check(connection: Connection, settings: Settings) -> None:
    if not settings.read_only and database.is_read_only(connection):
        detail = "The database is a standby or read-only: see docs/operate/backup.md."
        raise Problem(503, "database_read_only", detail, headers=_SOON)
    if missing := database.pending(connection):
        detail = f"Pending migrations: {len(missing)}. Run 'keygauge migrate'."
        raise Problem(503, "migrations_pending", detail, headers=_SOON)
    if settings.read_only:  # it checks no keys and cannot write the pepper's fingerprint
        return
    try:
        pepper_check.compare(connection, settings.peppers)
    except PepperError as error:
        raise Problem(503, "wrong_pepper", str(error)) from error
