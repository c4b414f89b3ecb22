"""What a call costs, and the kind of function that tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from keygauge_keyservice.pricing.priced import Priced


class Cost(NamedTuple):
    """The cost of one call and the version of the price that made it."""

    nanousd: int
    price_version: str


Price: TypeAlias = Callable[[Priced], Cost | None]


def is_metered(event: Priced) -> bool:
    """Tell whether anything is known that a call used."""
    return event.input_tokens is not None or event.output_tokens is not None or bool(event.details)
