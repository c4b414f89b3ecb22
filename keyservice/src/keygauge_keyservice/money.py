"""US dollars as people write them, in whole nano-USD."""

from __future__ import annotations

from decimal import Decimal

_NANOUSD = 10**9


def parse_usd(text: str, *, times: int = 1) -> int | str:
    """Return so many dollars in nano-USD, `times` over; the text itself where that is no whole number."""
    try:
        amount = Decimal(text) * _NANOUSD * times
        return int(amount) if amount == amount.to_integral_value() else text
    except (ArithmeticError, ValueError):
        return text  # refused as no whole number
