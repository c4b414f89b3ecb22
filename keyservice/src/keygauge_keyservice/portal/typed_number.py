"""Numbers in forms, as people type them in the format of their choice."""

from __future__ import annotations

import re
from decimal import Decimal

from babel.numbers import NumberFormatError, parse_decimal

from keygauge_keyservice.portal import reader
from keygauge_keyservice.texts import gettext

_is_number = re.compile(r"[0-9][0-9.,'\s]{0,40}").fullmatch


def plain(text: str) -> str:
    """Return a number in the API's format: 1500.25 for 1.500,25 of a German reader.

    What is no number in the reader's format is returned as it is, without a dollar sign: 2.50 can't be misread, as a
    German would group by three digits.
    """
    digits = text.strip().removeprefix("$").removesuffix("$").strip()
    if reader.is_english() or not _is_number(digits):
        return digits
    group = reader.locale().number_symbols["latn"]["group"]
    try:
        number = parse_decimal(
            re.sub(r"\s", group, digits) if group.isspace() else digits, locale=reader.locale(), strict=True
        )
    except NumberFormatError:
        return digits
    return f"{number:f}"


def write(number: Decimal) -> str:
    """Format a number for a form: with all of its digits, and no group separators."""
    return f"{number:f}".replace(".", reader.locale().number_symbols["latn"]["decimal"])


def wrong_usd() -> str:
    """Return the error message for an amount in US dollars."""
    return gettext("must be an amount in US dollars, such as %(example)s", example=write(Decimal("25.50")))
