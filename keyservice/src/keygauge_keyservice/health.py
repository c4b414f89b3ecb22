"""Health: whether the process lives, and whether it can do its work."""

from __future__ import annotations

from flask import Blueprint

from keygauge_keyservice import database
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.web.context import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def live() -> dict[str, str]:
    """Tell that the process answers: restart it when it does not."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> dict[str, str]:
    """Tell that the database answers, can be written to and has this version's tables: send traffic only then."""
    with services().connection() as connection:
        is_read_only = not services().settings.read_only and database.is_read_only(connection)
        missing = database.pending(connection)
    if is_read_only:
        raise Problem(503, "database_read_only", "The database is a standby, or read-only: see docs/backup.md.")
    if missing:
        raise Problem(503, "migrations_pending", f"{len(missing)} migrations are missing: run 'keygauge migrate'.")
    return {"status": "ok"}
