"""Errors as RFC 9457 problem+json: one body shape for every answer that is not a success."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from flask import Flask, Response
from psycopg_pool import PoolTimeout, TooManyRequests
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from keygauge_keyservice.codes import CODES, OF_FRAMEWORK

_log = logging.getLogger(__name__)

_ID_LENGTH = 12  # of a key's id
_FAULT = ("internal", "The key service failed; the cause is in its log.")


@dataclass(frozen=True)
class FieldError:
    """One field of a request that is wrong: its path, a stable code and a sentence."""

    field: str
    code: str
    detail: str


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is not a success; raise it anywhere below a view."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Write the problem as an HTTP answer."""
        body = json.dumps(self.document())
        return Response(body, self.status, self.headers, content_type="application/problem+json")

    def document(self) -> dict[str, Any]:
        """Return the body of the answer."""
        document: dict[str, Any] = {
            "type": f"urn:keygauge:problem:{self.code}",
            "title": CODES[self.code],
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [asdict(error) for error in self.errors]
        return document


def not_found(noun: str, name: str) -> Problem:
    """Say that a named thing does not exist; a whole key that somebody gave for its id is not repeated."""
    named = f"of this id: give the {_ID_LENGTH} characters after kg_live_" if name.startswith("kg_") else repr(name)
    return Problem(404, f"{noun}_not_found", f"There is no {noun} {named}.")


def invalid(*errors: FieldError) -> Problem:
    """Say which fields of a request are wrong."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return Problem(422, "invalid", detail, errors=errors)


def handle_problems(app: Flask) -> None:
    """Answer every error of an app with problem+json; nothing of an unexpected one leaks."""
    app.register_error_handler(Problem, Problem.response)
    app.register_error_handler(HTTPException, of_http)
    for error in (psycopg.OperationalError, PoolTimeout, TooManyRequests):
        app.register_error_handler(error, _of_database)
    app.register_error_handler(Exception, _of_fault)


def of_http(error: HTTPException) -> BaseResponse:
    """Write an HTTP error of the framework as a problem."""
    if error.response is not None or error.code is None:  # a redirect, or an answer made by hand
        return error.get_response()
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    return Problem(error.code, *of_framework(error.code), headers=headers).response()


def of_framework(status: int) -> tuple[str, str]:
    """Return our code and detail for a status that the framework answers with by itself."""
    return OF_FRAMEWORK.get(status, _FAULT if status >= 500 else OF_FRAMEWORK[400])  # noqa: PLR2004 - HTTP


def _of_database(error: Exception) -> Response:
    _log.error("the database did not answer: %s", type(error).__name__)
    detail = "The database is not available; try again."
    return Problem(503, "database_unavailable", detail, headers={"Retry-After": "1"}).response()


def _of_fault(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return Problem(500, *_FAULT).response()
