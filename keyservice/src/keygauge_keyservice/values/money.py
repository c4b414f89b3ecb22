"""Parsing of integers and US dollars, strict so that no amount is misread."""

from __future__ import annotations

import re
from decimal import Decimal

_NANOUSD = 10**9
_DIGITS_MAX = 18
_is_grouped = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII).fullmatch  # 25,500 but not 25,50
_is_number = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII).fullmatch


def parse_usd(text: str, *, times: int = 1) -> int | str:
    """Parse dollars into nano-USD, multiplied by `times`; return the text itself if the result is not an integer.

    A leading dollar sign and thousands separators (commas) are allowed.
    """
    plain = _plain(text.strip().removeprefix("$"))
    if plain is None:
        return text
    amount = Decimal(plain) * _NANOUSD * times
    return int(amount) if amount == amount.to_integral_value() else text


def parse_integer(text: str) -> int | str:
    """Parse an integer, with or without thousands separators; return the text itself if it is not one."""
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
