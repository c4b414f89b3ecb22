"""`keygauge usage`: usage by model, key, route, status or account, and what is left of quotas and rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click

from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.connection.document import Document
from keygauge_keyservice.commands.terminal.name_columns import Names, named
from keygauge_keyservice.commands.terminal.names import account_id, find_key
from keygauge_keyservice.commands.terminal.options import Time, account_option, standalone
from keygauge_keyservice.commands.terminal.output import Column, Output, column, number, usd
from keygauge_keyservice.usage import kind_titles
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.values.durations import write_duration

_FIGURES = (
    number("requests"),
    number("limited", "rate limited"),
    Column("errors", lambda one: one["client_errors"] + one["server_errors"], is_number=True),
    number("input_tokens"),
    number("output_tokens"),
    usd("cost_nanousd"),
    Column("p50 s", lambda one: _seconds(one["p50_s"]), is_number=True),
    Column("p95 s", lambda one: _seconds(one["p95_s"]), is_number=True),
)


class _Dimensions(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names."""
        names = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if not set(names) <= set(get_args(Grouping)) or len(set(names)) < len(names):
            self.fail(f"use one or more of {', '.join(get_args(Grouping))}, separated by commas", param, ctx)
        return names


@standalone(
    "usage",
    examples=(
        "keygauge usage --account Acme",
        "keygauge usage --by account --from 2030-01-01 --to 2030-02-01 --output csv",
        "keygauge usage --account Acme --by key,status --from 7d",
        "keygauge usage --account Acme --by tag --output csv",
    ),
)
@account_option("Only this account's calls (default: all).")
@click.option("--key", metavar="ID|NAME", help="Only this key's calls.")
@click.option("--route", help="Only calls to this endpoint.")
@click.option("--model", help="Only calls to this model.")
@click.option("--tag", help="Only calls for this end user.")
@click.option(
    "--by",
    type=_Dimensions(),
    metavar="NAME,…",
    help=f"One or more of {', '.join(get_args(Grouping))} (default: model, or key with --tag).",
)
@click.option(
    "--from",
    "start",
    type=Time(is_past=True),
    help="Start of the range: 2030-01-31, or 7d for a week ago (default: 30d).",
)
@click.option("--to", "end", type=Time(is_past=True), help="End of the range (default: now).")
def usage(
    *,
    api: Api,
    output: Output,
    account: str | None,
    key: str | None,
    by: tuple[str, ...] | None,
    start: str | None,
    end: str | None,
    **chosen: str | None,
) -> None:
    """Show what was used and what is left."""
    by = by or (("key",) if chosen["tag"] else ("model",))
    key_id = key and find_key(api, key, account)["id"]
    found = account_id(api, account)
    body = {
        "account": found,
        "key": key_id,
        "from": start,
        "to": end,
        "groups": [",".join(by)],
    } | chosen
    document = api.post("usage", "query", body=body)
    groups = document["results"][0]["groups"]
    if output.is_quiet:
        for group in groups:
            click.echo("\t".join(group["by"].values()))
        return
    if output.form == "json":
        output.document(document)
        return
    names = [one for name in by for one in _dimension(api, output, name, account=found)]
    if output.form == "csv":  # a program adds up the groups itself
        output.items("groups", groups, (*names, *_FIGURES))
        return
    first, *others = names
    totals = document["totals"] | {"by": dict.fromkeys(by, "")}
    names = [Column(first.title, lambda one: "total" if one is totals else first.read(one)), *others]
    span = f"{document['from'][:16].replace('T', ' ')} to {document['to'][:16].replace('T', ' ')} UTC"
    output.items("groups", [*groups, totals], (*names, *_FIGURES), title=span)
    _show_kinds(output, totals["kinds"])
    _show_quotas(api, output, document["quotas"])
    _show_rates(output, document["pace"])


def _show_kinds(output: Output, used: Mapping[str, Document]) -> None:
    if used:
        click.echo()
        uses = [{"kind": kind_titles.title(kind), **use} for kind, use in used.items()]
        output.items("kinds", uses, (column("kind"), number("count"), usd("cost_nanousd")), key="kind", title="By kind")


def _dimension(api: Api, output: Output, name: str, *, account: str | None) -> tuple[Column, ...]:
    """Return the columns of a dimension: accounts and keys have names."""

    def read(one: Document) -> str:
        return str(one["by"][name])

    if name == "account":
        return named(Names(api, "accounts"), output, name, read)
    if name == "key":
        return named(Names(api, "keys", account=account), output, name, read)
    return (Column(name, read),)


def _show_quotas(api: Api, output: Output, quotas: Sequence[Document]) -> None:
    if quotas:
        click.echo()
        columns = (
            Column("quota", _name),
            *named(Names(api, "keys"), output, "key", lambda one: one["key_id"]),
            *map(_amount, ("used", "reserved", "amount", "remaining")),
            Column("resets", _resets),
        )
        output.items("quotas", quotas, columns, key="name", title="Quotas of the current periods")


def _show_rates(output: Output, pace: Document | None) -> None:
    if pace and pace["rates"]:
        click.echo()
        columns = (
            Column("rate", _name),
            Column("window", lambda one: write_duration(one["window_s"]) if one["window_s"] else "at once"),
            *map(_amount, ("used", "amount", "remaining")),
        )
        output.items("rates", pace["rates"], columns, key="name", title="Rates and concurrent requests")


def _resets(quota: Document) -> str:
    """Format a quota's reset time in UTC: a date, and the time unless it is midnight."""
    instant = (quota["resets_at"] or "never")[:16].replace("T", " ")
    return instant.removesuffix(" 00:00")


def _name(limit: Document) -> str:
    """Format a limit's name with what it counts, and whether it is a dry run."""
    scopes = [limit[scope] for scope in ("route", "model", "tool") if limit[scope]]
    return " ".join([limit["name"], *(f"({scope} only)" for scope in scopes), *["(dry run)"] * limit["dry_run"]])


def _amount(name: str) -> Column:
    """Return the column of an amount of limits, each in its own unit."""
    return Column(name, lambda limit: _in_unit(limit, limit[name]), is_number=True)


def _in_unit(limit: Document, amount: int) -> str:
    if limit["unit_name"]:
        return f"{amount:,} {limit['unit_name']}"
    if limit.get("credit_nanousd"):
        return f"{amount / limit['credit_nanousd']:,.2f} credits"
    return f"${amount / 1e9:,.4f}" if limit["unit"] == "nanousd" else f"{amount:,}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
