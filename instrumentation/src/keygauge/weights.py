"""Operator-defined units: weights per request and per token of each kind."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

WEIGHT_MAX = 1_000_000
TOKEN_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

_PARTS = frozenset({"cache_read", "cache_write", "reasoning"})  # part of input or output: 0 is not the same as None

Weight = Annotated[int, Meta(ge=0, le=WEIGHT_MAX)]


class Weights(Struct, frozen=True, omit_defaults=True):
    """The weights of one unit: integers, so that nothing is rounded.

    Cached tokens are part of the input, reasoning tokens part of the output; they count by their own weight if it is
    set.
    """

    request: Weight = 0
    input: Weight = 0
    output: Weight = 0
    cache_read: Weight | None = None
    cache_write: Weight | None = None
    reasoning: Weight | None = None

    def __bool__(self) -> bool:
        """Return whether anything counts."""
        return any(getattr(self, name) for name in self.__struct_fields__)

    def __str__(self) -> str:
        """Format the weights as a sum, as on the command line: input+4*output."""
        parts = {name: getattr(self, name) for name in self.__struct_fields__}
        nonzero = {name: weight for name, weight in parts.items() if weight or (weight == 0 and name in _PARTS)}
        return "+".join(name if weight == 1 else f"{weight}*{name}" for name, weight in nonzero.items())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Weights:
        """Parse the weights in a heartbeat's answer, ignoring unknown kinds."""
        return cls(**{name: value[name] for name in cls.__struct_fields__ if name in value})

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Return the highest possible value of a call over all kinds that its tokens may have."""
        given = max(self.input, self.cache_read or 0, self.cache_write or 0)
        made = max(self.output, self.reasoning or 0)
        return self.request + given * input_tokens + made * output_tokens

    def units(
        self,
        *,
        requests: int,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int,
        cache_write_tokens: int,
        reasoning_tokens: int,
    ) -> int:
        """Return the total value of calls, given the sums of their counts."""
        total = self.request * requests + self.input * input_tokens + self.output * output_tokens
        if self.cache_read is not None:
            total += (self.cache_read - self.input) * cache_read_tokens
        if self.cache_write is not None:
            total += (self.cache_write - self.input) * cache_write_tokens
        if self.reasoning is not None:
            total += (self.reasoning - self.output) * reasoning_tokens
        return max(0, total)
