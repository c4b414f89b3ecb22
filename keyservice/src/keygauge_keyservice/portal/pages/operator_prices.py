"""The operator's page of own prices: list and add; and the operator's tables as CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.keys import directory
from keygauge_keyservice.portal import auth, price_text, typed_number
from keygauge_keyservice.portal.pages.operator import blueprint, query_text
from keygauge_keyservice.portal.tables import account_table
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.own_prices import OwnPrice
from keygauge_keyservice.pricing.price_terms import NewPrice
from keygauge_keyservice.reading import attempt
from keygauge_keyservice.values.money import parse_usd
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json
from keygauge_keyservice.web.export import as_csv

_KINDS = ("input", "output", "cache_read")
_ROWS_MAX = 10_000


@blueprint.get("/prices")
def list_prices() -> str:
    """List own prices, with the form for a new one."""
    return _page()


@blueprint.post("/prices")
def add_price() -> BaseResponse | tuple[str, int]:
    """Add a price that is valid from now on."""
    given, errors = attempt(NewPrice, _document(request.form))
    if given is None:
        return _page(errors=_messages(errors)), 422
    with services().connection() as connection:
        own_prices.set_price(
            connection,
            model=given.model,
            tiers=given.rates(),
            valid_from=datetime.now(UTC),
            provider=given.provider,
            account_id=given.account,
            actor=auth.current_member().email,
        )
    return redirect(url_for("portal.operator.list_prices", notice="added"), 303)


@blueprint.get("/<any(accounts, keys, plans, prices):table>.csv")
def export(table: str) -> Response:
    """Return one of the operator's tables as CSV."""
    with services().connection() as connection:
        found = _rows(connection, table)
    names = list(found[0]) if found else ["id"]
    return as_csv(table, names, [list(row.values()) for row in found])


@blueprint.get("/<any(accounts, keys, plans, prices):table>.json")
def export_json(table: str) -> Response:
    """Return one of the operator's tables as JSON."""
    with services().connection() as connection:
        found = _rows(connection, table)
    return exact_json({table: [{name: _plain(value) for name, value in row.items()} for row in found]})


def _messages(errors: Sequence[FieldError]) -> dict[str, str]:
    """Return error messages by form field."""
    return {
        error.field.removeprefix("tiers[0]."): typed_number.wrong_usd()
        if error.field.startswith("tiers[0].") and error.code == "wrong_number"
        else error.detail
        for error in errors
    }


def _page(*, errors: Mapping[str, str] | None = None) -> str:
    with services().connection() as connection:
        found = own_prices.list_prices(connection)
    return render_template(
        "portal/operator_prices.html",
        prices=found,
        other_rates=price_text.other_rates,
        errors=errors or {},
        given=request.form if errors else {},
        is_added=request.args.get("notice") == "added",
    )


def _document(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the form in the API's format; rates are in US dollars per million tokens."""
    rates = {kind: form.get(kind, "").strip() for kind in _KINDS}
    return {
        "model": form.get("model", "").strip(),
        "provider": form.get("provider", "").strip() or None,
        "account": form.get("account", "").strip() or None,
        "tiers": [{kind: parse_usd(typed_number.plain(text)) for kind, text in rates.items() if text}],
    }


def _rows(connection: Connection, table: str) -> list[dict[str, Any]]:
    if table == "accounts":
        table_ = account_table.read(request.args)
        found = directory.find_accounts(connection, table_.query, limit=_ROWS_MAX, **table_.selection)
        return [vars(one) for one in found]
    if table == "keys":
        return [vars(one) for one in directory.find_keys(connection, query_text(), limit=_ROWS_MAX)]
    if table == "prices":
        return [_price(one) for one in own_prices.list_prices(connection)]
    counts = directory.count_accounts(connection)
    return [
        {
            "id": plan.id,
            "name": plan.name,
            "monthly_nanousd": billing.find_plan_price(connection, plan.id),
            "limits": "; ".join(f"{limit.name}={limit.amount}:{limit.unit}" for limit in plan.limits),
            "accounts": counts.get(plan.id, 0),
        }
        for plan in plans.list_plans(connection)
    ]


def _price(price: OwnPrice) -> dict[str, Any]:
    """Return a price with the rates of its first tier, in nano-USD per million tokens."""
    first = price.tiers[0]
    return {
        "version": price.version,
        "model": price.model,
        "provider": price.provider,
        "account": price.account_id,
        "valid_from": price.valid_from,
        "tiers": len(price.tiers),
        **{kind: getattr(first, kind) for kind in _KINDS},
    }


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
