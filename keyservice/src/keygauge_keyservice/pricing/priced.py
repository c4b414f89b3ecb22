"""The protocol for calls that can be priced."""

from __future__ import annotations

from typing import Protocol

from keygauge.pricing.rates import Counts


class Priced(Counts, Protocol):
    """A call that can be priced: account, time, model and usage; None means unknown."""

    @property
    def account(self) -> str: ...  # noqa: D102 - named by the class
    @property
    def time_us(self) -> int: ...  # noqa: D102 - as above
    @property
    def model(self) -> str | None: ...  # noqa: D102 - as above
    @property
    def provider(self) -> str | None: ...  # noqa: D102 - as above
