"""Health: whether the process lives, and whether it can do its work."""

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

_READY_S = 1.0  # for so long it is not looked at again: strangers must not keep the database busy by asking
_READY_UNTIL = "keygauge_ready_until"

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def live() -> dict[str, str]:
    """Tell that the process answers: restart it when it does not."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> dict[str, str]:
    """Tell that the database answers, can be written to and has this version's tables: send traffic only then."""
    known = current_app.extensions
    if monotonic() >= known.get(_READY_UNTIL, 0.0):
        with services().replica_connection() as connection:
            _check(connection, services().settings)
        known[_READY_UNTIL] = monotonic() + _READY_S
    return {"status": "ok"}


def _check(connection: Connection, settings: Settings) -> None:
    if not settings.read_only and database.is_read_only(connection):
        raise Problem(503, "database_read_only", "The database is a standby or read-only: see docs/operate/backup.md.")
    if missing := database.pending(connection):
        raise Problem(503, "migrations_pending", f"{len(missing)} migrations are missing: run 'keygauge migrate'.")
    if settings.read_only:  # it looks at no key, and can let the database know nothing
        return
    try:
        pepper_check.compare(connection, settings.peppers)
    except PepperError as error:
        raise Problem(503, "wrong_pepper", str(error)) from error
