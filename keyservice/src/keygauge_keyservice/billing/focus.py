"""Export of cost and usage in FOCUS 1.2, the FinOps Foundation's format for finance tools.

There is one row per UTC day, model and kind of use (the `SkuMeter`), and one for the plan.
https://focus.finops.org/focus-specification/v1-2/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from keygauge.kinds import BY_ONE
from keygauge_keyservice.accounts.accounts import Account
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import kind_titles, usage
from keygauge_keyservice.usage.sums import KindUse

COLUMNS: tuple[str, ...] = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName", "SkuId", "SkuMeter"),
)
_MILLION = 10**6
_DAY = timedelta(days=1)


def find_rows(
    connection: Connection, account: Account, *, start: datetime, end: datetime, plan_name: str, plan_nanousd: int
) -> Iterator[list[Any]]:
    """Yield the rows for a UTC month, or for the part of it that has passed."""
    points = usage.series(connection, account_id=account.id, start=start, end=end, bucket="day", group_by="model")
    period = {"BillingPeriodStart": _time(start), "BillingPeriodEnd": _time(end)}
    of_account = {
        "BillingAccountId": account.id,
        "BillingAccountName": account.name,
        "BillingAccountType": "Account",
    }
    plan = _cost(plan_nanousd) | {
        "ChargeCategory": "Purchase",
        "ChargeDescription": f"{plan_name} plan",
        "ChargeFrequency": "Recurring",
        "ChargePeriodStart": _time(start),
        "ChargePeriodEnd": _time(end),
        "PricingQuantity": 1,
        "PricingUnit": "Months",
        "ServiceName": plan_name,
    }
    yield _row(period | of_account | plan)
    for point in points:
        for kind, use in point.kinds.items():
            yield _row(period | of_account | _usage(point.group or "", kind, use, point.start))


def _usage(model: str, kind: str, use: KindUse, day: datetime) -> dict[str, Any]:
    unit, per = _unit(kind)
    return _cost(use.cost_nanousd) | {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{model or 'Requests without a model'}: {kind_titles.title(kind)}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + _DAY),
        "ConsumedQuantity": use.count,
        "ConsumedUnit": unit,
        "PricingQuantity": Decimal(use.count).scaleb(-6) if per else use.count,
        "PricingUnit": f"{per} {unit}" if per else unit,
        "ServiceName": "API",
        "SkuId": model,
        "SkuMeter": kind_titles.title(kind),
    }


def _unit(kind: str) -> tuple[str, int | None]:
    """Return the unit of a kind, and the number of units per price; None means a price per unit."""
    if kind in BY_ONE or kind == "request":
        return kind_titles.title(kind), None
    return "Characters" if kind == "characters" else "Tokens", _MILLION


def _cost(nanousd: int) -> dict[str, Any]:
    return dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), usd(nanousd))


def _row(values: dict[str, Any]) -> list[Any]:
    fixed = {
        "BillingCurrency": "USD",
        "InvoiceIssuerName": "KeyGauge",
        "ProviderName": "KeyGauge",
        "PublisherName": "KeyGauge",
        "ServiceCategory": "AI and Machine Learning",
    }
    return [{**fixed, **values}.get(name) for name in COLUMNS]


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
