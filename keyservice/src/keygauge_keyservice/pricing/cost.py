"""The cost of a call, and the type of functions that compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self, TypeAlias

from keygauge_keyservice.pricing.kind_costs import pack
from keygauge_keyservice.pricing.priced import Priced


class Cost(NamedTuple):
    """The cost of one call, the price version used, and the costs of its kinds as packed by `kind_costs`."""

    nanousd: int
    price_version: str
    kind_costs: int = 0

    @classmethod
    def of_kinds(cls, costs: Sequence[int], price_version: str) -> Self:
        """Build a cost from the costs of each kind, in the order of `keygauge.kinds.CHARGED`."""
        return cls(sum(costs), price_version, pack(costs))


Price: TypeAlias = Callable[[Priced], Cost | None]


def is_metered(event: Priced) -> bool:
    """Return whether any usage of a call is known."""
    return event.input_tokens is not None or event.output_tokens is not None or bool(event.details)
