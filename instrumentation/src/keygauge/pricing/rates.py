"""The cost of a call in integer nano-USD, calculated the same way by the ledger and the middleware.

Each call is rounded once: rates are integer nano-USD per million tokens, the parts are added exactly, and the sum is
divided by a million and rounded half up. Costs by kind round the running total, so that the kinds add up to the call's
cost and each is off by less than one nano-dollar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keygauge.kinds import CHARGED, PART_OF

_MILLION = 10**6
_HALF = _MILLION // 2
_PLACES = {kind: place for place, kind in enumerate(CHARGED)}


class Counts(Protocol):
    """The tokens of a call; None means unknown. Cached tokens are part of the input, reasoning of the output."""

    @property
    def input_tokens(self) -> int | None: ...  # noqa: D102 - named by the class
    @property
    def output_tokens(self) -> int | None: ...  # noqa: D102 - as above
    @property
    def cache_read_tokens(self) -> int | None: ...  # noqa: D102 - as above
    @property
    def cache_write_tokens(self) -> int | None: ...  # noqa: D102 - as above
    @property
    def reasoning_tokens(self) -> int | None: ...  # noqa: D102 - as above
    @property
    def details(self) -> Mapping[str, int] | None: ...  # noqa: D102 - as above


@dataclass(frozen=True)
class Rates:
    """Rates of one model for calls with more than `above` input tokens, in nano-USD per million (tokens or calls).

    `details` has the rates of `keygauge.kinds`. A kind without one costs the same as what it is part of, or nothing.
    """

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    request: int
    details: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, int | None]:
        """Return the rates as a flat dict; `above` is None in the smallest tier."""
        own = {name: value for name, value in vars(self).items() if name != "details"}
        return {**own, "above": None if self.above < 0 else self.above, **self.details}

    def cost_nanousd(self, counts: Counts) -> int:
        """Return the cost of a call."""
        return (sum(self._parts(counts)) + _HALF) // _MILLION

    def cost_by_kind(self, counts: Counts) -> list[int]:
        """Return the cost of a call by kind, in the order of `CHARGED`; kinds missing at the end cost nothing."""
        costs, exact, charged = [], _HALF, 0
        for part in self._parts(counts):
            exact += part
            up_to = exact // _MILLION
            costs.append(up_to - charged)
            charged = up_to
        return costs

    def is_for(self, counts: Counts) -> bool:
        """Return whether these rates cover something that a call used; those of a free model cover everything."""
        if counts.input_tokens is not None or counts.output_tokens is not None or self.request:
            return True
        return not (self.input or self.output) or any(kind in self.details for kind in counts.details or ())

    def _parts(self, counts: Counts) -> list[int]:
        """Return the cost of each kind in millionths of a nano-USD, in the order of `CHARGED`."""
        read, written = counts.cache_read_tokens or 0, counts.cache_write_tokens or 0
        reasoning = counts.reasoning_tokens or 0
        parts = [
            max((counts.input_tokens or 0) - read - written, 0) * self.input,
            max((counts.output_tokens or 0) - reasoning, 0) * self.output,
            read * self.cache_read,
            reasoning * self.reasoning,
            written * self.cache_write,
            self.request,
        ]
        if counts.details:
            self._split_details(parts, counts.details)
        return parts

    def _split_details(self, parts: list[int], details: Mapping[str, int]) -> None:
        """Move each detailed count from the kind that includes it to its own, at its own rate if it has one."""
        parts += [0] * len(PART_OF)
        for kind, count in details.items():
            whole = PART_OF.get(kind)
            taken = 0
            if whole is not None:
                taken = min(count * getattr(self, whole), parts[_PLACES[whole]])
                parts[_PLACES[whole]] -= taken
            if kind in PART_OF:
                rate = self.details.get(kind)
                parts[_PLACES[kind]] = taken if rate is None else count * rate

    def _highest_rate(self, *wholes: str) -> int:
        rates: list[int] = [getattr(self, whole) for whole in wholes]
        return max(rates + [rate for kind, rate in self.details.items() if PART_OF.get(kind) in wholes])

    def most_nanousd(self, input_tokens: int, output_tokens: int) -> int:
        """Return the highest possible cost of a call over all kinds that its tokens may have; rounded up."""
        total = (
            input_tokens * self._highest_rate("input", "cache_read", "cache_write")
            + output_tokens * self._highest_rate("output", "reasoning")
            + self.request
        )
        return -(-total // _MILLION)


def rates_of(tiers: Sequence[Rates], input_tokens: int) -> Rates:
    """Return the rates for a call with so many input tokens; a single tier applies to every size."""
    if len(tiers) == 1:
        return tiers[0]
    return next(rates for rates in reversed(tiers) if input_tokens > rates.above)


def cost_nanousd(tiers: Sequence[Rates], counts: Counts) -> int | None:
    """Return the cost of a call; None, not 0, if nothing that it used has a rate."""
    rates = rates_of(tiers, counts.input_tokens or 0)
    return rates.cost_nanousd(counts) if rates.is_for(counts) else None


def cost_by_kind(tiers: Sequence[Rates], counts: Counts) -> list[int] | None:
    """Return the cost of a call by kind, like `Rates.cost_by_kind`; None if `cost_nanousd` returns None."""
    rates = rates_of(tiers, counts.input_tokens or 0)
    return rates.cost_by_kind(counts) if rates.is_for(counts) else None
