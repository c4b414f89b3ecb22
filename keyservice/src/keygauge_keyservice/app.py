"""The key service's Flask app: one blueprint per noun."""

from __future__ import annotations

from flask import Flask, abort, request
from prometheus_client import CollectorRegistry
from werkzeug.middleware.proxy_fix import ProxyFix

from keygauge_keyservice import database, health, monitoring, openapi
from keygauge_keyservice.accounts.oidc import SignOn
from keygauge_keyservice.api import (
    accounts,
    attention,
    audit,
    billing,
    calls,
    events,
    heartbeat,
    key_limits,
    keys,
    me,
    members,
    notifications,
    plans,
    price_list,
    prices,
    reports,
    tokens,
    usage,
    usage_query,
)
from keygauge_keyservice.api.schema import Part
from keygauge_keyservice.config import Settings
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.ledger.metrics import LedgerMetrics
from keygauge_keyservice.portal import create_portal
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.web import compression
from keygauge_keyservice.web.context import Context
from keygauge_keyservice.web.problem import handle_problems
from keygauge_keyservice.web.request_metrics import RequestMetrics

API: tuple[Part, ...] = (
    accounts,
    attention,
    audit,
    heartbeat,
    billing,
    calls,
    events,
    key_limits,
    keys,
    me,
    members,
    notifications,
    plans,
    price_list,
    prices,
    reports,
    tokens,
    usage,
    usage_query,
)

REQUEST_BYTES_MAX = 1 << 20  # of every body but the ledger's batches, which set their own bound


def create_app(settings: Settings, *, registry: CollectorRegistry | None = None) -> Flask:
    """Make the app; nothing is opened before the first request, so it may be made before a fork."""
    app = Flask(__name__, static_folder=None)  # the portal's files have addresses of their own
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX
    registry = registry or CollectorRegistry()
    pool = database.pool(settings.database_url, read_only=settings.read_only)
    page_pool = database.pool(
        settings.database_url,
        connections_max=database.PAGE_CONNECTIONS_MAX,
        statement_timeout_ms=database.PAGE_STATEMENT_TIMEOUT_MS,
        read_only=settings.read_only,
    )
    sign_on = SignOn(settings.oidc) if settings.oidc else None
    services = Context(settings, pool, page_pool, registry, PriceBook(PublicPrices()), LedgerMetrics(registry), sign_on)
    services.attach(app)
    registry.register(monitoring.KeyCollector(services.connection))
    RequestMetrics(registry).watch(app)
    compression.install(app)
    handle_problems(app)
    app.before_request(_refuse_nul)
    if settings.read_only:
        app.before_request(_refuse_changes)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(monitoring.blueprint)
    for part in API:
        app.register_blueprint(part.blueprint)
    app.register_blueprint(openapi.blueprint(API))
    app.register_blueprint(create_portal())
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=settings.proxies, x_host=settings.proxies)  # type: ignore[method-assign]  # as Flask says
    return app


def _refuse_changes() -> None:
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        raise Problem(503, "read_only", "This key service only shows: it reads from a standby of the database.")


def _refuse_nul() -> None:
    """Know no name with a NUL in it, and take no text with one: PostgreSQL has neither."""
    if "\0" in request.path:
        abort(404)
    if names := {name for name, value in request.args.items(multi=True) if "\0" in value}:
        raise invalid(*(FieldError(name, "wrong_text", "must not contain a NUL character") for name in sorted(names)))
