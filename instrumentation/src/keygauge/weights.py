"""Units of an operator's own: so many for each request, and for each token by its kind."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

WEIGHT_MAX = 1_000_000
TOKEN_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

_PARTS = frozenset({"cache_read", "cache_write", "reasoning"})  # of input and output: a weight of 0 differs from none

Weight = Annotated[int, Meta(ge=0, le=WEIGHT_MAX)]


class Weights(Struct, frozen=True, omit_defaults=True):
    """What a call is worth: whole numbers, so that nothing is ever rounded.

    Tokens that a cache had to do with are part of the input, reasoning is part of the output: they count by weights of
    their own where they have any.
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
        """Write them as a sum, as the command line takes it: input+4*output."""
        parts = {name: getattr(self, name) for name in self.__struct_fields__}
        said = {name: weight for name, weight in parts.items() if weight or (weight == 0 and name in _PARTS)}
        return "+".join(name if weight == 1 else f"{weight}*{name}" for name, weight in said.items())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Weights:
        """Read weights of the heartbeat's answer; kinds that are not known here are passed over."""
        return cls(**{name: value[name] for name in cls.__struct_fields__ if name in value})

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Return the most that a call of so many tokens is worth, whatever their kinds turn out to be."""
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
        """Return what calls are worth together: the sum of what each is worth."""
        total = self.request * requests + self.input * input_tokens + self.output * output_tokens
        if self.cache_read is not None:
            total += (self.cache_read - self.input) * cache_read_tokens
        if self.cache_write is not None:
            total += (self.cache_write - self.input) * cache_write_tokens
        if self.reasoning is not None:
            total += (self.reasoning - self.output) * reasoning_tokens
        return max(0, total)
