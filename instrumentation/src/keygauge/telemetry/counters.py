"""The sums of one series."""

from __future__ import annotations

from keygauge.call import Call
from keygauge.telemetry.labels import Labels
from keygauge.usage import Usage


class Counters:
    """The sums of the calls of one series."""

    __slots__ = (
        "cache_read_tokens",
        "cache_write_tokens",
        "cost_nanousd",
        "input_tokens",
        "messages",
        "output_tokens",
        "reasoning_tokens",
        "request_bytes",
        "requests",
        "response_bytes",
        "seen",
        "series",
        "unpriced",
    )

    def __init__(self, series: Labels) -> None:
        self.series = series
        self.requests = 0
        self.seen = 0  # requests as of the last turn
        self.request_bytes = 0
        self.response_bytes = 0
        self.messages = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cache_read_tokens = 0
        self.cache_write_tokens = 0
        self.reasoning_tokens = 0
        self.cost_nanousd = 0
        self.unpriced = 0  # calls under a cost limit whose price is unknown

    def add(self, call: Call) -> None:
        """Add one call and its usage."""
        self.request_bytes += call.request_bytes
        self.response_bytes += call.response_bytes
        if call.messages:
            self.messages += call.messages
        if call.usage is not None:
            self._add_usage(call.usage)

    def _add_usage(self, usage: Usage) -> None:
        """Add the tokens of one call."""
        given, made, read, written, reasoned, _ = usage
        if given:
            self.input_tokens += given
        if made:
            self.output_tokens += made
        if read:
            self.cache_read_tokens += read
        if written:
            self.cache_write_tokens += written
        if reasoned:
            self.reasoning_tokens += reasoned
