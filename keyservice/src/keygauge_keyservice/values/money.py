"""Whole numbers and US dollars as people write them: strictly, so that nothing is read as another amount."""

from __future__ import annotations

import re
from decimal import Decimal

_NANOUSD = 10**9
_DIGITS_MAX = 18
_is_grouped = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII).fullmatch  # 25,500 and not 25,50
_is_number = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII).fullmatch


def parse_usd(text: str, *, times: int = 1) -> int | str:
    """Return so many dollars in nano-USD, `times` over; the text itself where that is no whole number.

    A dollar sign may come first, and commas group the thousands.
    """
    plain = _plain(text.strip().removeprefix("$"))
    if plain is None:
        return text
    amount = Decimal(plain) * _NANOUSD * times
    return int(amount) if amount == amount.to_integral_value() else text


def parse_integer(text: str) -> int | str:
    """Return a whole number, its thousands grouped by commas or not; the text itself where it is none."""
    plain = _plain(text.strip())
    return int(plain) if plain is not None and plain.isdigit() else text


def _plain(text: str) -> str | None:
    if _is_grouped(text):
        text = text.replace(",", "")
    return (
        text
        if _is_number(text) and len(text) <= 2 * _DIGITS_MAX and len(text.partition(".")[0]) <= _DIGITS_MAX
        else None
    )
