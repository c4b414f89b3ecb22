"""Limits on the command line: how plans and keys are given them, and how they are shown."""

from __future__ import annotations

import argparse
from collections import Counter
from decimal import Decimal

from keygauge.command import CommandError
from keygauge_keyservice.commands.session import told_plainly
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, parse_limit

COLUMNS = ("limit", "amount", "of", "by")
_HELP = (
    "repeatable, e.g. rpm=600:request:60s, monthly=20000:request:month, per_key=5:request:1s:key, "
    "at_once=4:concurrent, budget=25.50:usd:month or credits=500:credit@0.01:month"
)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--limit`."""
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION...]",
        help=_HELP,
    )


def parse(texts: list[str]) -> list[Limit]:
    """Read the limits given.

    Raises:
        CommandError: one makes no sense, two have the same name, or there are too many.
    """
    with told_plainly():
        limits = [parse_limit(text) for text in texts]
    for name, count in Counter(limit.name for limit in limits).items():
        if count > 1:
            raise CommandError(f"limit {name!r} is given twice: give each a name of its own")
    if len(limits) > LIMITS_MAX:
        raise CommandError(
            f"{len(limits)} limits are too many: {LIMITS_MAX} at most, each is reserved on every request"
        )
    return limits


def cells(limit: Limit | None) -> tuple[str, ...]:
    """Write a limit, or that there is none, as `COLUMNS`."""
    return (limit.name, _amount(limit), _unit(limit), limit.subject) if limit else ("-",)


def _amount(limit: Limit) -> str:
    if limit.credit_nanousd:
        return f"{limit.amount // limit.credit_nanousd:,}"
    return _dollars(limit.amount) if limit.unit == "nanousd" else f"{limit.amount:,}"


def _dollars(nanousd: int) -> str:
    """Write US dollars with the digits they have."""
    return f"{Decimal(nanousd).scaleb(-9).normalize():,f}"


def _unit(limit: Limit) -> str:
    unit: str = limit.unit
    if unit == "nanousd":
        unit = f"credit of {_dollars(limit.credit_nanousd)} USD" if limit.credit_nanousd else "USD"
    if limit.window_s is not None:
        return f"{unit} / {limit.window_s} s"
    return f"{unit} / {limit.period}" if limit.period else unit
