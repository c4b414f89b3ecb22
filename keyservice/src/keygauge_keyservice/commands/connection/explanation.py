"""Errors of the API in the command line's terms."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

# Names of the API's fields on the command line; all others are options of the same name.
_WORDS = {
    "": "the request",
    "body": "the request",
    "name": "the name",
    "id": "the id",
    "email": "the e-mail address",
    "model": "the model",
    "kind": "the kind",
    "password": "the password",
    "target": "the target",
    "monthly_nanousd": "--price",
    "grace_s": "--grace",
    "valid_from": "--from",
    "group_by": "--by",
    "window_s": "the window",
    "period": "the window",
    "anchor": "the anchor",
    "zone": "the time zone",
    "amount": "the amount",
    "unit": "the unit",
    "credit_nanousd": "the worth of a credit",
    "limits": "--limit",
    "tiers": "--tier",
    "providers": "--provider",
    "above": "the number of input tokens",
}
_REPLACEMENTS = {  # replacements for the API's details
    "wrong_window": "must be one such as 60s, 1h, day or month; limits of concurrency have none",
    "unknown_field": "is not known here",
}
_NUMBERS = {  # replacements for the API's ranges of integers
    "window_s": "must be 1s to 1d, or one of hour, day, week, month, quarter, year, lifetime",
    "grace_s": "must be at most 30d",
    "rate": "must be an amount in US dollars, such as 2.50",
}
_TERMS = {  # replacements for errors of a limit's terms
    ("", "unknown_field"): "an option is missing after a comma",
    ("smooth", "wrong_window"): "smooth only applies to rates, with a window such as 60s",
    ("weights", "unknown_field"): "the weights must be a sum such as input+4*output, of request, input, output, "
    "cache_read, cache_write and reasoning",
}
_item = re.compile(r"([a-z_]+)\[(\d+)\]\.?(.*)").fullmatch
_amount = re.compile(r"(\d+) nano-USD").sub


def explain(problem: dict[str, Any], body: dict[str, Any] | None) -> str:
    """Format a problem document as one sentence; invalid list items are quoted as given."""
    errors = problem.get("errors")
    if not errors:
        return plain(str(problem.get("detail") or "the key service did not say why"))
    return "; ".join(f"{_subject(error['field'], body or {})} {_detail(**error)}" for error in errors)


def explain_term(field: str, code: str, detail: str) -> str:
    """Format an error in one term of a combined value, such as a limit."""
    if (whole := _TERMS.get((field.partition(".")[0], code))) is not None:
        return whole
    subject = "the window" if code == "wrong_window" else _WORDS.get(field, field)
    return f"{subject} {_detail(field, code, detail)}"


def plain(detail: str) -> str:
    """Replace nano-USD by dollars, and the wire's names by plain words."""
    detail = _amount(lambda found: f"${Decimal(found[1]).scaleb(-9):,f}", detail)
    return detail.replace("credit_nanousd", "a credit's worth").replace("nanousd", "usd")


def _detail(field: str, code: str, detail: str) -> str:
    name, _, last = field.rpartition(".")
    number = "rate" if name.startswith("tiers[") and last != "above" else last
    in_words = _NUMBERS.get(number) if code == "wrong_number" else _REPLACEMENTS.get(code)
    return in_words or plain(detail)


def _subject(field: str, body: dict[str, Any]) -> str:
    if not (found := _item(field)):
        return _WORDS.get(field) or f"--{field.replace('_', '-')}"
    name, index, rest = found.groups()
    given = body.get(name)
    item = given[int(index)] if isinstance(given, list) and int(index) < len(given) else None
    if isinstance(item, dict):
        item = item.get("name", "")
    subject = f"{_WORDS.get(name) or f'--{name}'} {str(item or '')!r}"
    return f"{subject}: {_WORDS.get(rest, rest)}" if rest else subject
