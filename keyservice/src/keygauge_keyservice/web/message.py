"""Read the JSON body of a request as one of the types that describe it."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from flask import request

from keygauge_keyservice.errors import FieldError, Problem

_T = TypeVar("_T")
_place = re.compile(r" - at `\$\.?(.*)`$").search


def message(kind: type[_T], *, code: str) -> _T:
    """Return the current request's body as a `kind`; fields that it does not have are passed over.

    Raises:
        Problem: 422 with this code; the body is not JSON, or does not have the type.
    """
    return decode(kind, request.get_data(cache=False), code=code)


def decode(kind: type[_T], body: bytes, *, code: str) -> _T:
    """Return a body as a `kind`.

    Raises:
        Problem: 422 with this code.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        place = _place(str(error))
        field = (place and place[1]) or "body"
        complaint = "is not as /v1/openapi.json describes it"
        raise Problem(422, code, f"{field} {complaint}.", errors=[FieldError(field, "wrong", complaint)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        complaint = "is not JSON"
        raise Problem(422, code, f"body {complaint}.", errors=[FieldError("body", "wrong", complaint)]) from error
