"""Limits on the command line: how plans and keys are given them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import click
from msgspec import structs

from keygauge.command import CommandError
from keygauge_keyservice.commands.document import Document
from keygauge_keyservice.commands.explanation import explain_term
from keygauge_keyservice.commands.output import dollars
from keygauge_keyservice.durations import write_duration
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.limits.limit_terms import LimitTerms, parse_limit

_HELP = (
    "Repeatable: rpm=600:request:1m, monthly=20000:request:month, per_key=5:request:1s:key, at_once=4:concurrent, "
    "budget=$25.50:usd:month, credits=500:credit@0.01:month."
)


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--limit`."""
    return click.option(
        "--limit", "limits", multiple=True, metavar="NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION...]", help=_HELP
    )(function)


def limit_documents(texts: Sequence[str], *, subject: str | None = None) -> list[Document]:
    """Read the limits given, as the API takes them.

    Raises:
        CommandError: one makes no sense.
    """
    documents = []
    for text in texts:
        try:
            limit = parse_limit(text)
        except Problem as problem:
            told = "; ".join(explain_term(error.field, error.code, error.detail) for error in problem.errors)
            raise CommandError(f"--limit {text}: {told or problem.detail}") from problem
        document = structs.asdict(LimitTerms.of(limit))
        documents.append(document | {"subject": subject} if subject else document)
    return documents


def write_limit(limit: Document) -> str:
    """Write a limit as people read it: rpm: 600 request / 1m."""
    amount = f"{limit['amount']:,}"
    unit = limit["unit"]
    if unit == "nanousd":
        amount, unit = dollars(Decimal(limit["amount"]).scaleb(-9)), ""
    elif unit == "credit":
        unit = f"credit of {dollars(Decimal(limit['credit_nanousd']).scaleb(-9))}"
    window = limit["period"] or (write_duration(limit["window_s"]) if limit["window_s"] else "")
    scope = [limit[name] for name in ("route", "model") if limit[name]]
    terms = f"{amount} {unit}".strip() + (f" / {window}" if window else "")
    return " ".join((f"{limit['name']}: {terms}", *(["per key"] if limit["subject"] == "key" else []), *scope))


def write_limits(limits: Sequence[Document]) -> str:
    """Write limits, each on a line of its own."""
    return "\n".join(map(write_limit, limits))
