"""Prices in words."""

from __future__ import annotations

from decimal import Decimal

from keygauge.kinds import BY_ONE
from keygauge.pricing.rates import Rates
from keygauge_keyservice.portal import formatting
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import kind_titles

_MILLION = 1_000_000


def other_rates(rates: Rates) -> str:
    """Describe the rates of kinds of use other than tokens: Web searches: $0.01 each; Images: $0.04 each."""
    return "; ".join(_rate(kind, title, rate) for kind, title, rate in kind_titles.titled(rates.details))


def _rate(kind: str, title: str, rate: int) -> str:
    if kind in BY_ONE:
        return gettext("%(kind)s: %(price)s each", kind=title, price=formatting.price(Decimal(rate) / _MILLION))
    return gettext("%(kind)s: %(price)s per million", kind=title, price=formatting.price(rate))
