"""Sums over calls, and figures derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any, Self

from keygauge.kinds import CHARGED, PART_OF
from keygauge.metrics import DURATION_BUCKETS_S
from keygauge_keyservice.ledger.rollup import duration_counts
from keygauge_keyservice.pricing.kind_costs import unpack

_US = 1_000_000
_NO_DURATIONS = (0,) * (len(DURATION_BUCKETS_S) + 1)


@dataclass(frozen=True, kw_only=True)
class UsageSums:
    """Sums over calls; unknown tokens and costs count as 0."""

    requests: int = 0
    limited: int = 0  # refused by a rate limit or quota
    client_errors: int = 0  # other responses with status 400 to 499
    server_errors: int = 0  # responses with status 500 to 599
    input_tokens: int = 0  # including cached tokens
    output_tokens: int = 0  # including reasoning tokens
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    cost_nanousd: int = 0
    duration_us: int = 0
    kind_costs: int = field(default=0, repr=False)  # packed, see `pricing.kind_costs`
    duration_counts: tuple[int, ...] = field(default=_NO_DURATIONS, repr=False)  # per DURATION_BUCKETS_S and +Inf

    @classmethod
    def from_row(cls, row: Mapping[str, Any], **others: Any) -> Self:
        """Build the sums from a row with columns of the same names."""
        sums = {name.name: row[name.name] for name in fields(UsageSums) if name.name != "duration_counts"}
        return cls(**{**sums, "duration_counts": tuple(duration_counts(row["durations"])), **others})

    @property
    def tokens(self) -> int:
        """Input plus output tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def tokens_per_request(self) -> float | None:
        """Average tokens per call; None without calls."""
        return self.tokens / self.requests if self.requests else None

    @property
    def error_rate(self) -> float | None:
        """Share of calls with a server error; None without calls."""
        return self.server_errors / self.requests if self.requests else None

    @property
    def average_duration_s(self) -> float | None:
        """Average duration of a call; None without calls."""
        return self.duration_us / _US / self.requests if self.requests else None

    @property
    def p50_s(self) -> float | None:
        """The median duration."""
        return self.percentile_s(0.5)

    @property
    def p95_s(self) -> float | None:
        """The 95th percentile of durations."""
        return self.percentile_s(0.95)

    @property
    def p99_s(self) -> float | None:
        """The 99th percentile of durations."""
        return self.percentile_s(0.99)

    def percentile_s(self, share: float) -> float | None:
        """Estimate the duration within which a share (0 to 1) of the calls finished, as Prometheus does.

        Linear interpolation within a bucket; the last bound for durations beyond it. None without calls.
        """
        if not self.requests:
            return None
        rank, below, lower_s = share * self.requests, 0, 0.0
        for upper_s, up_to in zip(DURATION_BUCKETS_S, accumulate(self.duration_counts), strict=False):
            if up_to >= rank and up_to > below:
                return lower_s + (upper_s - lower_s) * max(rank - below, 0) / (up_to - below)
            below, lower_s = up_to, upper_s
        return DURATION_BUCKETS_S[-1]


@dataclass(frozen=True)
class KindUse:
    """The quantity used of a kind, in tokens, pieces or requests, and its cost."""

    count: int
    cost_nanousd: int


@dataclass(frozen=True, kw_only=True)
class DetailedSums(UsageSums):
    """Sums with the counts of other kinds of use, by kind, and of calls refused for another reason than a limit."""

    refused: int = 0  # not of sums by tag
    details: Mapping[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, KindUse]:
        """The use by kind, in the order of `CHARGED`; no token is counted twice, and the costs add up to the total.

        Requests are included only if they have a cost or no other use is known.
        """
        counts, costs = self._counts(), unpack(self.cost_nanousd, self.kind_costs)
        if "request" in costs or not any(counts.values()):
            counts["request"] = self.requests
        kinds = [*CHARGED, *(counts.keys() - set(CHARGED))]  # newer replicas may report other kinds
        uses = ((kind, KindUse(counts.get(kind, 0), costs.get(kind, 0))) for kind in kinds)
        return {kind: use for kind, use in uses if use.count or use.cost_nanousd}

    def cost_of(self, kind: str) -> int:
        """Return the cost of one kind."""
        return unpack(self.cost_nanousd, self.kind_costs).get(kind, 0)

    def _counts(self) -> dict[str, int]:
        counts = {
            "input": self.input_tokens - self.cache_read_tokens - self.cache_write_tokens,
            "output": self.output_tokens - self.reasoning_tokens,
            "cache_read": self.cache_read_tokens,
            "reasoning": self.reasoning_tokens,
            "cache_write": self.cache_write_tokens,
        }
        for kind, count in self.details.items():
            whole = PART_OF.get(kind)
            if whole is not None:
                counts[whole] -= count
        return {kind: max(count, 0) for kind, count in counts.items()} | dict(self.details)
