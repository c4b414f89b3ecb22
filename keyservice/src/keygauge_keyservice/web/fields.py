"""Read the JSON body and the page that a request asks for."""

from __future__ import annotations

import re

from flask import request

from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.fields import NAME_LENGTH_MAX, Fields

_ID_MAX = 2**63 - 1
_is_page_size = re.compile(r"[1-9][0-9]{0,8}", re.ASCII).fullmatch


def body() -> Fields:
    """Return the fields of the current request's JSON body.

    Raises:
        Problem: 422, the body is not JSON.
    """
    try:
        document = request.get_json(force=True, silent=True)
    except RecursionError:  # a body of brackets only
        document = None
    if document is None:
        raise Problem(422, "invalid_json", "The request body is not valid JSON.")
    return Fields(document)


def filters() -> Fields:
    """Return the current request's query but for its page, as the fields that narrow a list."""
    return Fields({name: value for name, value in request.args.items() if name not in {"after", "limit"}})


def page(*, most: int = 500) -> tuple[str | None, int]:
    """Return `after` and `limit` of the current request's query.

    Raises:
        Problem: 422.
    """
    text = request.args.get("limit", "100")
    if not _is_page_size(text) or int(text) > most:
        raise invalid(FieldError("limit", "wrong_number", f"must be an integer from 1 to {most}"))
    after = request.args.get("after") or None
    if after is not None and ("\0" in after or len(after) > NAME_LENGTH_MAX):
        raise invalid(FieldError("after", "wrong_cursor", "must be the `next` value of the previous page"))
    return after, int(text)


def number_after(text: str | None) -> int | None:
    """Return the id in the `after` of a list whose cursors are ids of numbers.

    Raises:
        Problem: 422.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= _ID_MAX):
        raise invalid(FieldError("after", "wrong_cursor", "must be the `next` value of the previous page"))
    return int(text)
