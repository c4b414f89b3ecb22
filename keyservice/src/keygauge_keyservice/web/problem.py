"""Errors as RFC 9457 problem+json: the same body for every error response."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from keygauge_keyservice.codes import OF_FRAMEWORK
from keygauge_keyservice.database import CHANGED, UNAVAILABLE, UNFIT
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.texts import mark

_log = logging.getLogger(__name__)

CHANGED_MEANWHILE = mark("The data that this request refers to was changed at the same time. Try again.")
_FAULT = ("internal", mark("The key service failed. The cause is in its log."))


def respond(problem: Problem) -> Response:
    """Return a problem as a response."""
    body = json.dumps(problem.document())
    return Response(body, problem.status, problem.headers, content_type="application/problem+json")


def handle_problems(app: Flask) -> None:
    """Return all of an app's errors as problem+json."""
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, lambda error: respond(of_error(error)))


def of_http(error: HTTPException) -> BaseResponse:
    """Return an HTTP error of the framework as a problem."""
    if error.response is not None or error.code is None:  # a redirect, or a custom response
        return error.get_response()
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    return respond(Problem(error.code, *of_framework(error.code), headers=headers))


def of_framework(status: int) -> tuple[str, str]:
    """Return our code and detail for a status that the framework returns by itself."""
    return OF_FRAMEWORK.get(status, _FAULT if status >= 500 else OF_FRAMEWORK[400])  # noqa: PLR2004 - HTTP


def log_unavailable(error: Exception) -> None:
    """Log that the database failed; where a bug could be the cause, with the place."""
    _log.error("the database did not answer: %s", type(error).__name__, exc_info=isinstance(error, UNFIT) and error)


def of_error(error: Exception) -> Problem:
    """Return any other error as a problem, and log it unless it is one; unexpected ones reveal no details."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UNAVAILABLE):
        log_unavailable(error)
        detail = "The database is not available; try again."
        return Problem(503, "database_unavailable", detail, headers={"Retry-After": "1"})
    if isinstance(error, CHANGED):
        _log.warning("a request was refused, as its data changed meanwhile", exc_info=error)
        return Problem(409, "changed_meanwhile", CHANGED_MEANWHILE)
    _log.error("a request failed", exc_info=error)
    return Problem(500, *_FAULT)
