"""Parsing and validation of prices in requests, forms and command lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta, Struct, defstruct

from keygauge.kinds import BY_ONE, PART_OF
from keygauge.pricing.rates import Rates
from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.reading import read
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.values.field_types import Name, Text, Time
from keygauge_keyservice.values.money import parse_usd

RATE_MAX = 10**12  # nano-USD per million tokens: 1,000 dollars; a call of 10^9 tokens still fits a bigint
REQUEST_RATE_MAX = 10**17  # nano-USD per million calls: 100 dollars per call
TIERS_MAX = 10
ABOVE_MAX = 10**9
_MILLION = 10**6
_BY_ONE = BY_ONE | {"request"}

_Rate: TypeAlias = Annotated[int, Meta(ge=0, le=RATE_MAX, description="whole nano-USD per million tokens")]
_Piece: TypeAlias = Annotated[int, Meta(ge=0, le=REQUEST_RATE_MAX, description="whole nano-USD per million")]


if TYPE_CHECKING:
    _Kinds = Struct
else:
    _Kinds = defstruct("_Kinds", [(kind, (_Piece if kind in BY_ONE else _Rate) | None, None) for kind in PART_OF])


class PriceTier(_Kinds, omit_defaults=True):
    """Rates for calls with more than `above` input tokens; a kind without one costs what it is part of, or nothing."""

    above: Annotated[int, Meta(ge=0, le=ABOVE_MAX)] | None = None
    input: _Rate | None = None
    output: _Rate | None = None
    cache_read: _Rate | None = None
    cache_write: _Rate | None = None
    reasoning: _Rate | None = None
    request: _Piece | None = None

    def rates(self) -> Rates:
        """Return all rates; a kind of token without its own rate gets the rate of the kind it is part of."""
        given, made = self.input or 0, self.output or 0
        own = {kind: getattr(self, kind) for kind in PART_OF}
        return Rates(
            above=-1 if self.above is None else self.above,
            input=given,
            output=made,
            cache_read=given if self.cache_read is None else self.cache_read,
            cache_write=given if self.cache_write is None else self.cache_write,
            reasoning=made if self.reasoning is None else self.reasoning,
            request=self.request or 0,
            details={kind: rate for kind, rate in own.items() if rate is not None},
        )


class PriceTerms(Struct):
    """The tiers of a price: one for the smallest calls, and optional ones for larger calls."""

    tiers: Annotated[list[PriceTier], Meta(min_length=1, max_length=TIERS_MAX)]

    def faults(self) -> Iterator[FieldError]:
        """Yield errors of the combination of tiers."""
        sizes = sorted(-1 if tier.above is None else tier.above for tier in self.tiers)
        if len(set(sizes)) < len(sizes):
            yield FieldError("tiers", "same_size", gettext("must not have two tiers with the same `above`"))
        if sizes[0] > 0:
            yield FieldError(
                "tiers", "no_first_tier", gettext("needs one tier without `above`, for the smallest requests")
            )

    def rates(self) -> list[Rates]:
        """Return the tiers, smallest first; the first applies to all calls that are too small for the others."""
        first, *others = sorted((tier.rates() for tier in self.tiers), key=lambda rates: rates.above)
        return [replace(first, above=-1), *others]


class NewPrice(PriceTerms, kw_only=True):
    """A price to add; by default for any provider and all accounts, from now on."""

    model: Name
    provider: Text | None = None
    account: Text | None = None
    valid_from: Time | None = None


def parse_tiers(texts: list[str]) -> list[Rates]:
    """Parse `[ABOVE:]KIND=USD,…` texts: US dollars per million of a kind, or per unit of `request` and `BY_ONE`.

    Raises:
        Problem: 422 if a text is invalid.
    """
    return read(PriceTerms, {"tiers": [_document(text) for text in texts]}).rates()


def _document(text: str) -> dict[str, object]:
    above, colon, terms = text.rpartition(":")
    document: dict[str, object] = {"above": _whole(above)} if colon else {}
    for term in terms.split(","):
        kind, _, usd = term.partition("=")
        document[kind] = parse_usd(usd, times=_MILLION if kind in _BY_ONE else 1)
    return document


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
