"""`keygauge usage`: what was used, by model, key, route, status or account, and what is left of the quotas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import click

from keygauge_keyservice.commands.client import Api
from keygauge_keyservice.commands.document import Document
from keygauge_keyservice.commands.names import account_id, find_key
from keygauge_keyservice.commands.options import Moment, account_option, standalone
from keygauge_keyservice.commands.output import Column, Output, number, usd
from keygauge_keyservice.usage import kinds
from keygauge_keyservice.usage.query import Grouping

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
            self.fail(f"give some of {', '.join(get_args(Grouping))}, with commas between them", param, ctx)
        return names


@standalone(
    "usage",
    examples=(
        "keygauge usage --account Acme",
        "keygauge usage --by account --from 2030-01-01 --to 2030-02-01 --output csv",
        "keygauge usage --account Acme --by key,status --from 7d",
    ),
)
@account_option(required=False, text="Only this account's calls (default: all accounts').")
@click.option("--key", metavar="ID|NAME", help="Only this key's calls.")
@click.option("--route", help="Only calls of this endpoint.")
@click.option("--model", help="Only calls that this model answered.")
@click.option(
    "--by",
    type=_Dimensions(),
    default="model",
    metavar="NAME,…",
    help=f"One or more of {', '.join(get_args(Grouping))} (default: model).",
)
@click.option("--from", "start", type=Moment(is_past=True), help="2030-01-31, or 7d for a week ago (default: 30d).")
@click.option("--to", "end", type=Moment(is_past=True), help="Where the range ends (default: now).")
def usage(
    *,
    api: Api,
    output: Output,
    account: str | None,
    key: str | None,
    by: tuple[str, ...],
    start: str | None,
    end: str | None,
    **chosen: str | None,
) -> None:
    """Show what was used, and what is left."""
    key_id = key and find_key(api, key, account)["id"]
    body = {
        "account": account_id(api, account),
        "key": key_id,
        "from": start,
        "to": end,
        "groups": [",".join(by)],
    } | chosen
    document = api.post("usage", "query", body=body)
    if output.form == "json":
        output.document(document)
        return
    names = [Column(name, lambda one, name=name: one["by"][name]) for name in by]  # type: ignore[misc]  # Column calls it with one
    totals = document["totals"] | {"by": dict.fromkeys(by, "") | {by[0]: "total"}}
    span = f"{document['from'][:16].replace('T', ' ')} to {document['to'][:16].replace('T', ' ')} UTC"
    output.items("groups", [*document["results"][0]["groups"], totals], (*names, *_FIGURES), title=span)
    if output.form == "table":
        _show_details(output, totals)
        _show_quotas(output, document["quotas"])


def _show_details(output: Output, totals: Document) -> None:
    told = [{"id": name, "kind": title, "count": count} for name, title, count in kinds.told(totals["details"])]
    if told:
        click.echo()
        output.items(
            "kinds", told, (Column("kind", lambda one: one["kind"]), number("count")), title="Other kinds of use"
        )


def _show_quotas(output: Output, quotas: Sequence[Document]) -> None:
    if quotas:
        click.echo()
        columns = (
            Column("quota", _name),
            Column("key", lambda one: one["key_id"]),
            *(Column(name, lambda one, name=name: _in_unit(one, one[name]), is_number=True) for name in _OF_QUOTA),  # type: ignore[misc]  # as above
            Column("resets", lambda one: one["resets_at"][:10]),
        )
        output.items("quotas", quotas, columns, key="name", title="Quotas of the current periods")


def _name(quota: Document) -> str:
    """Name a quota with what it counts, and whether it refuses nobody."""
    scopes = [quota[scope] for scope in ("route", "model") if quota[scope]]
    return " ".join([quota["name"], *(f"({scope} only)" for scope in scopes), *["(dry run)"] * quota["dry_run"]])


_OF_QUOTA = ("used", "reserved", "amount", "remaining")


def _in_unit(quota: Document, amount: int) -> str:
    if quota["credit_nanousd"]:
        return f"{amount / quota['credit_nanousd']:,.2f} credits"
    return f"${amount / 1e9:,.4f}" if quota["unit"] == "nanousd" else f"{amount:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
