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
    """Tell that the database answers and has this version's tables: send traffic only then."""
    with services().connection() as connection:
        missing = database.pending(connection)
    if missing:
        raise Problem(503, "migrations_pending", f"{len(missing)} migrations are missing: run 'keygauge migrate'.")
    return {"status": "ok"}
