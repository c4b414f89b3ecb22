"""Error pages: what went wrong and how to fix it, without internals."""

from __future__ import annotations

import logging
from contextlib import suppress

from flask import Blueprint, g, make_response, render_template, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from keygauge_keyservice.database import CHANGED, UNAVAILABLE
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, headers, languages
from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.usage.usage import UsageError
from keygauge_keyservice.web.problem import CHANGED_MEANWHILE, log_unavailable, of_framework, of_http

_log = logging.getLogger(__name__)

_UNMATCHED = {404: mark("This page doesn't exist."), 405: mark("This address only accepts form submissions.")}
_TITLES = {
    403: mark("Not allowed"),
    404: mark("Page not found"),
    405: mark("Method not allowed"),
    409: mark("Conflict"),
    413: mark("Request too large"),
    422: mark("Invalid request"),
    500: mark("Something went wrong"),
    503: mark("Temporarily unavailable"),
}


def install(portal: Blueprint) -> None:
    """Show every error of the portal as a page."""
    portal.register_error_handler(Problem, _of_problem)
    portal.register_error_handler(HTTPException, _of_http)
    portal.register_error_handler(UsageError, _of_usage)
    for error in UNAVAILABLE:
        portal.register_error_handler(error, _of_database)
    for change in CHANGED:
        portal.register_error_handler(change, _of_change)
    portal.register_error_handler(Exception, _of_fault)
    portal.record_once(_install_for_unmatched)


def _install_for_unmatched(state: BlueprintSetupState) -> None:
    for status in _UNMATCHED:
        state.app.register_error_handler(status, _of_unmatched)


def _page(status: int, detail: str) -> tuple[str, int]:
    title = gettext(_TITLES.get(status, _TITLES[500]))
    return render_template("portal/fault.html", is_fault=True, status=status, title=title, detail=detail), status


def _of_problem(error: Problem) -> tuple[str, int]:
    return _page(error.status, error.detail)


def _of_usage(error: UsageError) -> tuple[str, int]:
    """Show a query's error, whose message says how to correct it."""
    text = str(error)
    return _page(422, f"{text[:1].upper()}{text[1:]}.")


def _of_http(error: HTTPException) -> tuple[str, int] | Response:
    if error.response is not None or error.code is None:  # a redirect, or a custom response
        return error.get_response()
    return _page(error.code, gettext(of_framework(error.code)[1]))


def _of_unmatched(error: HTTPException) -> Response:
    """Return the error for an unknown address: a page for browsers, problem+json for programs."""
    accepted = request.accept_mimetypes
    if request.path.startswith("/v1/") or accepted["text/html"] <= accepted["application/json"]:
        return of_http(error)
    with suppress(*UNAVAILABLE):  # without the database, omit the navigation for signed-in members
        g.session = auth.find_session()
    languages.choose()
    status = error.code or 404
    return headers.add(make_response(*_page(status, gettext(_UNMATCHED[status]))))


def _of_database(error: Exception) -> tuple[str, int, dict[str, str]]:
    log_unavailable(error)
    return *_page(503, gettext("The database is unavailable. Try again in a moment.")), {"Retry-After": "1"}


def _of_change(error: Exception) -> tuple[str, int]:
    _log.warning("a page was refused, as its data changed meanwhile", exc_info=error)
    return _page(409, gettext(CHANGED_MEANWHILE))


def _of_fault(error: Exception) -> tuple[str, int]:
    _log.error("a page failed", exc_info=error)
    return _page(500, gettext("An unexpected error occurred. If it persists, contact the operator of this service."))
