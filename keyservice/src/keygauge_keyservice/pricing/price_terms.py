"""Read a price from a request body or a command line, and refuse one that makes no sense."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from keygauge.kinds import BY_ONE, PART_OF
from keygauge.pricing.rates import Rates
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.money import parse_usd

RATE_MAX = 10**12  # nano-USD per million tokens: 1,000 dollars; a call of 10^9 tokens still fits a bigint
REQUEST_RATE_MAX = 10**17  # nano-USD per million calls: 100 dollars a call
TIERS_MAX = 10
ABOVE_MAX = 10**9
_MILLION = 10**6
_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")
_BY_ONE = BY_ONE | {"request"}


def read_tiers(fields: Fields) -> list[Rates]:
    """Read the list `tiers`; errors are left in `fields`."""
    tiers = fields.each("tiers", _read_rates, most=TIERS_MAX)
    if fields.errors:
        return tiers
    if not tiers:
        fields.fail("tiers", "missing", "must have at least one tier")
        return tiers
    return _ordered(fields, tiers)


def parse_tiers(texts: list[str]) -> list[Rates]:
    """Read `[ABOVE:]KIND=USD,…` texts: US dollars per million of a kind, or each of `request` and `BY_ONE`.

    Raises:
        Problem: 422, with what is wrong.
    """
    fields = Fields({"tiers": [_document(text) for text in texts]})
    tiers = read_tiers(fields)
    fields.check()
    return tiers


def describe_details(rates: Rates) -> str:
    """Write the rates of other kinds in US dollars: each of `BY_ONE`, else per million."""
    told = [(kind, Decimal(rates.details[kind])) for kind in PART_OF if kind in rates.details]
    return ", ".join(f"{kind} {plain(rate.scaleb(-15 if kind in BY_ONE else -9))}" for kind, rate in told)


def plain(number: Decimal) -> str:
    """Write a number without an exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read_rates(fields: Fields) -> Rates:
    rate = {name: fields.integer(name, least=0, most=RATE_MAX, nullable=True) for name in _KINDS}
    above = fields.integer("above", least=0, most=ABOVE_MAX, nullable=True)
    request = fields.integer("request", least=0, most=REQUEST_RATE_MAX, nullable=True)
    own = {kind: fields.integer(kind, least=0, most=_most(kind), nullable=True) for kind in PART_OF}
    given, made = rate["input"] or 0, rate["output"] or 0
    # A kind of token without a rate of its own costs what the kind it belongs to costs.
    return Rates(
        above=-1 if above is None else above,
        input=given,
        output=made,
        cache_read=given if rate["cache_read"] is None else rate["cache_read"],
        cache_write=given if rate["cache_write"] is None else rate["cache_write"],
        reasoning=made if rate["reasoning"] is None else rate["reasoning"],
        request=request or 0,
        details={kind: value for kind, value in own.items() if value is not None},
    )


def _most(kind: str) -> int:
    return REQUEST_RATE_MAX if kind in BY_ONE else RATE_MAX


def _ordered(fields: Fields, tiers: list[Rates]) -> list[Rates]:
    """Sort by size; the smallest tier holds for every call that no larger one takes."""
    tiers = sorted(tiers, key=lambda rates: rates.above)
    if len({rates.above for rates in tiers}) < len(tiers):
        fields.fail("tiers", "same_size", "must not have two tiers with the same `above`")
    if tiers[0].above > 0:
        fields.fail("tiers", "no_first_tier", "must have one tier without `above`, for the smallest requests")
    return [replace(tiers[0], above=-1), *tiers[1:]]


def _document(text: str) -> dict[str, object]:
    above, colon, terms = text.rpartition(":")
    document: dict[str, object] = {"above": _whole(above)} if colon else {}
    for term in terms.split(","):
        kind, _, usd = term.partition("=")
        document[kind] = parse_usd(usd, times=_MILLION if kind in _BY_ONE else 1)
    return document


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
