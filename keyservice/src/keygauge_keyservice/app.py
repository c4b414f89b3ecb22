"""The key service's Flask app: one blueprint per noun."""

from __future__ import annotations

from flask import Flask
from prometheus_client import CollectorRegistry

from keygauge_keyservice import database
from keygauge_keyservice.config import Settings
from keygauge_keyservice.problem import handle_problems
from keygauge_keyservice.services import Services

_REQUEST_BYTES_MAX = 1 << 20  # of every body but the ledger's batches, which set their own bound


def create_app(settings: Settings, *, registry: CollectorRegistry | None = None) -> Flask:
    """Make the app; nothing is opened before the first request, so it may be made before a fork."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = _REQUEST_BYTES_MAX
    Services(settings, database.pool(settings.database_url), registry or CollectorRegistry()).attach(app)
    handle_problems(app)
    return app
