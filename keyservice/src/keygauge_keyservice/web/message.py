"""Request bodies, queries and response bodies as typed structs."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from flask import Response, request
from msgspec import Struct

from keygauge_keyservice import reading
from keygauge_keyservice.errors import FieldError, Problem

_T = TypeVar("_T")
_S = TypeVar("_S", bound=Struct)
_place = re.compile(r" - at `\$\.?(.*)`$").search


def body(kind: type[_S]) -> _S:
    """Return the current request's JSON body as a `kind`.

    Raises:
        Problem: 422 with every error, or if the body is not JSON.
    """
    try:
        document = request.get_json(force=True, silent=True)
    except RecursionError:  # a body of nothing but brackets
        document = None
    if document is None:
        raise Problem(422, "invalid_json", "The request body is not valid JSON.")
    return reading.read(kind, document)


def query(kind: type[_S]) -> _S:
    """Return the current request's query as a `kind`.

    Raises:
        Problem: 422 with every error.
    """
    return reading.read_query(kind, request.args)


def answer(kind: type[Struct], content: object, status: int = 200) -> Response:
    """Return a response with `content`'s attributes or items as a `kind`."""
    encoded = msgspec.json.encode(reading.convert(content, kind))
    return Response(encoded, status, content_type="application/json")


def message(kind: type[_T], *, code: str) -> _T:
    """Return the current request's body as a `kind`; unknown fields are ignored.

    Raises:
        Problem: 422 with this code if the body is not JSON or does not match.
    """
    return decode(kind, request.get_data(cache=False), code=code)


def decode(kind: type[_T], body: bytes, *, code: str) -> _T:
    """Decode a body as a `kind`.

    Raises:
        Problem: 422 with this code.
    """
    try:
        return reading.decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        place = _place(str(error))
        field = (place and place[1]) or "body"
        complaint = "does not match /v1/openapi.json"
        raise Problem(422, code, f"{field} {complaint}.", errors=[FieldError(field, "wrong", complaint)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        complaint = "is not JSON"
        raise Problem(422, code, f"body {complaint}.", errors=[FieldError("body", "wrong", complaint)]) from error
