"""The key service's Flask app: one blueprint per noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, abort, request
from prometheus_client import CollectorRegistry
from werkzeug.middleware.proxy_fix import ProxyFix

from keygauge_keyservice import database, health, monitoring, openapi
from keygauge_keyservice.api import (
    accounts,
    attention,
    audit,
    billing,
    calls,
    key_limits,
    keys,
    me,
    members,
    notifications,
    plans,
    price_list,
    prices,
    tokens,
    usage,
    usage_query,
)
from keygauge_keyservice.api.document.schema import Part
from keygauge_keyservice.api.replicas import events, heartbeat, reports
from keygauge_keyservice.config import Settings
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.ledger.metrics import LedgerMetrics
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.web import compression
from keygauge_keyservice.web.context import Context
from keygauge_keyservice.web.problem import handle_problems
from keygauge_keyservice.web.request_metrics import RequestMetrics

if TYPE_CHECKING:
    from keygauge_keyservice.accounts.sign_on import SignOn

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

REQUEST_BYTES_MAX = 1 << 20  # of every body except ledger batches, which set their own limit


def create_app(settings: Settings, *, registry: CollectorRegistry | None = None, has_pages: bool = True) -> Flask:
    """Create the app.

    Nothing is opened before the first request, so this may be called before a fork. Without pages (for a single
    command), slow dependencies are loaded only when needed.
    """
    app = Flask(__name__, static_folder=None)  # the portal serves its own files
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX
    registry = registry or CollectorRegistry()
    pool = database.pool(settings.database_url, read_only=settings.read_only)
    page_pool = database.pool(
        settings.database_url,
        connections_max=database.PAGE_CONNECTIONS_MAX,
        statement_timeout_ms=database.PAGE_STATEMENT_TIMEOUT_MS,
        silent_ms=database.PAGE_SILENT_MS,
        read_only=settings.read_only,
    )
    metrics = RequestMetrics(registry)
    services = Context(settings, pool, page_pool, registry, metrics, LedgerMetrics(registry), _sign_on(settings))
    services.attach(app)
    if has_pages:
        _ = services.prices  # load now, so that no heartbeat waits for it
    registry.register(monitoring.KeyCollector(services.connection))
    metrics.watch(app)
    compression.install(app)
    handle_problems(app)
    app.before_request(_refuse_nul)
    if settings.read_only:
        app.before_request(_refuse_changes)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(monitoring.blueprint)
    for part in API:
        if has_pages or part is not attention:  # it links to pages
            app.register_blueprint(part.blueprint)
    app.register_blueprint(openapi.blueprint(API))
    if has_pages:
        app.register_blueprint(_portal())
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=settings.proxies, x_host=settings.proxies)  # type: ignore[method-assign]  # as Flask documents
    return app


def _portal() -> Blueprint:
    from keygauge_keyservice.portal.site import create_portal  # noqa: PLC0415 - commands draw no charts

    return create_portal()


def _sign_on(settings: Settings) -> SignOn | None:
    if settings.oidc is None:
        return None
    from keygauge_keyservice.accounts.sign_on import SignOn  # noqa: PLC0415 - it loads libraries that few need

    return SignOn(settings.oidc)


def _refuse_changes() -> None:
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        raise Problem(503, "read_only", gettext("This key service is read-only: it uses a standby of the database."))


def _refuse_nul() -> None:
    """Refuse NUL characters in paths and query values, which PostgreSQL cannot store."""
    if "\0" in request.path:
        abort(404)
    if names := {name for name, value in request.args.items(multi=True) if "\0" in value}:
        raise invalid(
            *(FieldError(name, "wrong_text", gettext("must not contain a NUL character")) for name in sorted(names))
        )
