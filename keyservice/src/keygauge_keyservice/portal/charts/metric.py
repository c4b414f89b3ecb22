"""The metrics of usage charts: how each is read, formatted and stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keygauge_keyservice.portal import formatting
from keygauge_keyservice.texts import mark
from keygauge_keyservice.usage.sums import UsageSums

_US_PER_MS = 1000


@dataclass(frozen=True)
class Layer:
    """A part of a metric, one colour of its stack; `tone` is a CSS class."""

    name: str
    tone: str
    read: Callable[[UsageSums], int]


@dataclass(frozen=True)
class Metric:
    """A metric of usage; `is_stacked` if its groups add up to the total."""

    title: str
    read: Callable[[UsageSums], int]
    layers: Sequence[Layer]
    write: Callable[[int], str] = formatting.count
    write_tick: Callable[[int], str] = formatting.short
    is_stacked: bool = True


def failed(sums: UsageSums) -> int:
    """Return the number of client and server errors, without rate-limited requests."""
    return sums.client_errors + sums.server_errors


def average_us(sums: UsageSums) -> int:
    """Return the average latency in microseconds, 0 without requests."""
    return round(sums.duration_us / sums.requests) if sums.requests else 0


_SUCCESSFUL = Layer(mark("Successful"), "tone-answered", lambda sums: sums.requests - sums.limited - failed(sums))
_LIMITED = Layer(mark("Rate limited"), "tone-limited", lambda sums: sums.limited)
_CLIENT_ERRORS = Layer(mark("Client errors"), "tone-limited", lambda sums: sums.client_errors)
_SERVER_ERRORS = Layer(mark("Server errors"), "tone-failed", lambda sums: sums.server_errors)

METRICS = {
    "requests": Metric(
        mark("Requests"),
        lambda sums: sums.requests,
        (_SUCCESSFUL, _LIMITED, Layer(mark("Errors"), "tone-failed", failed)),
    ),
    "tokens": Metric(
        mark("Tokens"),
        lambda sums: sums.tokens,
        (
            Layer(mark("Input"), "tone-input", lambda sums: sums.input_tokens - sums.cache_read_tokens),
            Layer(mark("Cached input"), "tone-4", lambda sums: sums.cache_read_tokens),
            Layer(mark("Output"), "tone-output", lambda sums: sums.output_tokens),
        ),
    ),
    "cost": Metric(
        mark("Cost"),
        lambda sums: sums.cost_nanousd,
        (Layer(mark("Cost"), "tone-cost", lambda sums: sums.cost_nanousd),),
        formatting.money,
        formatting.dollars,
    ),
    "errors": Metric(mark("Errors"), failed, (_CLIENT_ERRORS, _SERVER_ERRORS)),
    "limited": Metric(mark("Rate limited"), lambda sums: sums.limited, (_LIMITED,)),
    "latency": Metric(
        mark("Average latency"),
        average_us,
        (Layer(mark("Average latency"), "tone-answered", average_us),),
        formatting.duration,
        lambda us: formatting.duration(us) if us % _US_PER_MS == 0 else "",
        is_stacked=False,
    ),
}


def credits_metric(credit_nanousd: int) -> Metric:
    """Return the cost metric in a plan's credits."""

    def read(sums: UsageSums) -> int:
        return sums.cost_nanousd

    def write(nanousd: int) -> str:
        return formatting.credits_of(nanousd, credit_nanousd)

    return Metric(mark("Credits"), read, (Layer(mark("Credits"), "tone-cost", read),), write, write)
