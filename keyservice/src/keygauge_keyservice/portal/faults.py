"""Errors as pages: what went wrong and the way out, nothing of the inside."""

from __future__ import annotations

import logging

import psycopg
from flask import Blueprint, render_template
from psycopg_pool import PoolTimeout, TooManyRequests
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from keygauge_keyservice.problem import Problem

_log = logging.getLogger(__name__)

_TITLES = {
    403: "Not allowed",
    404: "Nothing here",
    409: "That did not fit",
    413: "Too much",
    422: "That did not work",
    500: "Something failed",
    503: "Back in a moment",
}


def install(portal: Blueprint) -> None:
    """Answer every error of the portal's pages with a page."""
    portal.register_error_handler(Problem, _of_problem)
    portal.register_error_handler(HTTPException, _of_http)
    for error in (psycopg.OperationalError, PoolTimeout, TooManyRequests):
        portal.register_error_handler(error, _of_database)
    portal.register_error_handler(Exception, _of_fault)


def _page(status: int, detail: str) -> tuple[str, int]:
    title = _TITLES.get(status, "That did not work")
    return render_template("portal/fault.html", status=status, title=title, detail=detail), status


def _of_problem(error: Problem) -> tuple[str, int]:
    return _page(error.status, error.detail)


def _of_http(error: HTTPException) -> tuple[str, int] | Response:
    if error.response is not None or error.code is None:  # a redirect, or an answer made by hand
        return error.get_response()
    return _page(error.code, error.description or "")


def _of_database(error: Exception) -> tuple[str, int]:
    _log.error("the database did not answer: %s", type(error).__name__)
    return _page(503, "The database is not available. Reload the page in a moment.")


def _of_fault(error: Exception) -> tuple[str, int]:
    _log.error("a page failed", exc_info=error)
    return _page(500, "The portal failed; the operator finds the cause in its log.")
