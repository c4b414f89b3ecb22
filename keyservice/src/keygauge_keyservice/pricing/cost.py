"""What a call costs, and the kind of function that tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self, TypeAlias

from keygauge_keyservice.pricing.kind_costs import pack
from keygauge_keyservice.pricing.priced import Priced


class Cost(NamedTuple):
    """The cost of one call, the version of the price that made it, and its kinds as `kind_costs` packs them."""

    nanousd: int
    price_version: str
    kind_costs: int = 0

    @classmethod
    def of_kinds(cls, costs: Sequence[int], price_version: str) -> Self:
        """Make it of what each kind costs, in the order of `keygauge.kinds.CHARGED`."""
        return cls(sum(costs), price_version, pack(costs))


Price: TypeAlias = Callable[[Priced], Cost | None]


def is_metered(event: Priced) -> bool:
    """Return whether anything is known that a call used."""
    return event.input_tokens is not None or event.output_tokens is not None or bool(event.details)
