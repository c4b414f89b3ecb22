"""What a call costs, in whole nano-USD: the one rule by which the ledger charges and the middleware counts.

One rounding per call: rates are whole nano-USD per million tokens, the parts are added exactly, and the sum is divided
by a million and rounded half up. By kind, what is rounded is the sum so far: so the kinds add up to the call's cost,
and none is off by as much as a nano-dollar.
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
    """The tokens of a call; None is "not known". Cached ones are part of the input, reasoning is part of the output."""

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

    `details` are the rates of those of `keygauge.kinds` that have one: others cost what they are part of, or nothing.
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
        """Write them flat; `above` is null in the smallest tier."""
        own = {name: value for name, value in vars(self).items() if name != "details"}
        return {**own, "above": None if self.above < 0 else self.above, **self.details}

    def cost_nanousd(self, counts: Counts) -> int:
        """Price a call."""
        return (sum(self._parts(counts)) + _HALF) // _MILLION

    def cost_by_kind(self, counts: Counts) -> list[int]:
        """Price a call by kind, in the order of `CHARGED`; what is left out at its end costs nothing."""
        costs, exact, charged = [], _HALF, 0
        for part in self._parts(counts):
            exact += part
            up_to = exact // _MILLION
            costs.append(up_to - charged)
            charged = up_to
        return costs

    def is_for(self, counts: Counts) -> bool:
        """Return whether a call used something that these are the rates of; of a model that is free, all is."""
        if counts.input_tokens is not None or counts.output_tokens is not None or self.request:
            return True
        return not (self.input or self.output) or any(kind in self.details for kind in counts.details or ())

    def _parts(self, counts: Counts) -> list[int]:
        """Return what each kind costs in millionths of a nano-USD, in the order of `CHARGED`."""
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
            self._take_apart(parts, counts.details)
        return parts

    def _take_apart(self, parts: list[int], details: Mapping[str, int]) -> None:
        """Move what is counted by a kind of its own from its whole to that kind, at that kind's rate if it has one."""
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

    def _dearest(self, *wholes: str) -> int:
        rates: list[int] = [getattr(self, whole) for whole in wholes]
        return max(rates + [rate for kind, rate in self.details.items() if PART_OF.get(kind) in wholes])

    def most_nanousd(self, input_tokens: int, output_tokens: int) -> int:
        """Return what a call costs at most, whichever kinds its tokens will be; rounded up."""
        total = (
            input_tokens * self._dearest("input", "cache_read", "cache_write")
            + output_tokens * self._dearest("output", "reasoning")
            + self.request
        )
        return -(-total // _MILLION)


def rates_of(tiers: Sequence[Rates], input_tokens: int) -> Rates:
    """Return the rates that hold for a call of that size; the smallest tier holds for every size."""
    if len(tiers) == 1:
        return tiers[0]
    return next(rates for rates in reversed(tiers) if input_tokens > rates.above)


def cost_nanousd(tiers: Sequence[Rates], counts: Counts) -> int | None:
    """Price a call by its size; None where nothing that it used has a rate, which is not a cost of 0."""
    rates = rates_of(tiers, counts.input_tokens or 0)
    return rates.cost_nanousd(counts) if rates.is_for(counts) else None


def cost_by_kind(tiers: Sequence[Rates], counts: Counts) -> list[int] | None:
    """Price a call by its size and by kind, as `Rates.cost_by_kind`; None where `cost_nanousd` tells None."""
    rates = rates_of(tiers, counts.input_tokens or 0)
    return rates.cost_by_kind(counts) if rates.is_for(counts) else None
