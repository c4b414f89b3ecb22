"""Cost and usage in the columns of FOCUS 1.2, the FinOps Foundation's format that finance tools read.

One row for each UTC day and model, and one for the plan. Columns of our own, which begin with `x_`, count each kind of
token and of other use. https://focus.finops.org/focus-specification/v1-2/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from keygauge.kinds import PART_OF
from keygauge_keyservice.accounts.accounts import Account
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import DetailedSums

COLUMNS: tuple[str, ...] = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName", "SkuId"),
)
_TOKENS = {
    "x_InputTokens": "input_tokens",
    "x_OutputTokens": "output_tokens",
    "x_CacheReadTokens": "cache_read_tokens",
    "x_CacheWriteTokens": "cache_write_tokens",
    "x_ReasoningTokens": "reasoning_tokens",
}
_KINDS = {f"x_{''.join(map(str.capitalize, kind.split('_')))}": kind for kind in PART_OF}
COLUMNS += (*_TOKENS, *_KINDS)
_DAY = timedelta(days=1)


def find_rows(
    connection: Connection, account: Account, *, start: datetime, end: datetime, plan_name: str, plan_nanousd: int
) -> Iterator[list[Any]]:
    """Yield the rows of a UTC month, or of what has passed of it."""
    points = usage.series(connection, account_id=account.id, start=start, end=end, bucket="day", group_by="model")
    period = {"BillingPeriodStart": _time(start), "BillingPeriodEnd": _time(end)}
    whose = {"BillingAccountId": account.id, "BillingAccountName": account.name, "BillingAccountType": "Account"}
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
    yield _row(period | whose | plan)
    for point in points:
        if point.requests:
            yield _row(period | whose | _usage(point, point.group or "", point.start))


def _usage(sums: DetailedSums, model: str, day: datetime) -> dict[str, Any]:
    kinds = {name: sums.details.get(kind) for name, kind in _KINDS.items()}
    return (
        _cost(sums.cost_nanousd)
        | kinds
        | {name: getattr(sums, field) for name, field in _TOKENS.items()}
        | {
            "ChargeCategory": "Usage",
            "ChargeDescription": f"{model or 'Requests without a model'}: {sums.requests} requests",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodStart": _time(day),
            "ChargePeriodEnd": _time(day + _DAY),
            "ConsumedQuantity": sums.tokens or sums.requests,
            "ConsumedUnit": "Tokens" if sums.tokens else "Requests",
            "PricingQuantity": Decimal(sums.tokens).scaleb(-6) if sums.tokens else sums.requests,
            "PricingUnit": "1000000 Tokens" if sums.tokens else "Requests",
            "ServiceName": "API",
            "SkuId": model,
        }
    )


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


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
