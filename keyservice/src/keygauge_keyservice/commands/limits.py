"""Limits on the command line: how they are given for plans and keys, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import click
from msgspec import to_builtins

from keygauge.command_line.command import CommandError
from keygauge.weights import Weights
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.connection.explanation import explain_term
from keygauge_keyservice.commands.terminal.output import dollars
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.limits.limit_terms import LimitTerms, parse_limit
from keygauge_keyservice.values.durations import write_duration

_HELP = (
    "Repeatable: rpm=600:request:1m, monthly=20000:request:month, per_key=5:request:1s:key, at_once=4:concurrent, "
    "budget=$25.50:usd:month, credits=500:credit@0.01:month, trial=1000:request:lifetime, "
    "searches=50:request:day,tool=search, points=1000000:points(input+4*output):month, "
    "each_end_user=100:request:day,per_tag, billed=20000:request:month,anchor=2026-01-15,zone=Europe/Berlin."
)


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the `--limit` option."""
    return click.option(
        "--limit", "limits", multiple=True, metavar="NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION...]", help=_HELP
    )(function)


def limit_documents(texts: Sequence[str], *, subject: str | None = None) -> list[Document]:
    """Parse limits into the API's format.

    Raises:
        CommandError: a limit is invalid.
    """
    documents = []
    for text in texts:
        try:
            limit = parse_limit(text)
        except Problem as problem:
            errors = "; ".join(explain_term(error.field, error.code, error.detail) for error in problem.errors)
            raise CommandError(f"--limit {text}: {errors or problem.detail}") from problem
        document = to_builtins(LimitTerms.of(limit))
        documents.append(document | {"subject": subject} if subject else document)
    return documents


def write_limit(limit: Document) -> str:
    """Format a limit for people: rpm: 600 request / 1m."""
    amount = f"{limit['amount']:,}"
    unit = limit["unit"]
    if unit == "nanousd":
        amount, unit = dollars(Decimal(limit["amount"]).scaleb(-9)), ""
    elif unit == "credit":
        unit = f"credit of {dollars(Decimal(limit['credit_nanousd']).scaleb(-9))}"
    elif unit == "weighted":
        unit = f"{limit['unit_name']} ({Weights.from_json(limit['weights'])})"
    window = limit["period"] or (write_duration(limit["window_s"]) if limit["window_s"] else "")
    if limit["anchor"]:
        window += f" from {limit['anchor']}"
    if limit["zone"]:
        window += f" ({limit['zone']})"
    scope = [limit[name] for name in ("route", "model", "tool") if limit[name]]
    terms = f"{amount} {unit}".strip() + (f" / {window}" if window else "")
    apart = [*(["per key"] if limit["subject"] == "key" else []), *(["per tag"] if limit["per_tag"] else [])]
    return " ".join((f"{limit['name']}: {terms}", *apart, *scope))


def write_limits(limits: Sequence[Document]) -> str:
    """Format limits, one per line."""
    return "\n".join(map(write_limit, limits))
