"""The usage reported by an answer, and the interface of readers that extract it while the answer passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from keygauge.usage.counts import Usage

Missing = Literal[
    "no_usage",  # the answer was read and has no counts
    "not_json",  # its bytes are not what its content type says
    "bad_counts",  # it has impossible counts (negative, not numbers, more than their total), which are left out
    "too_large",  # the part with the usage is too large to read
    "cut",  # it ended before all usage was reported
    "undecodable",  # its content encoding is broken, or this machine has no decoder for it
]


class Reading(NamedTuple):
    """The usage of one answer; if the status is not `reported`, `missing` says why.

    `partial`: the answer was cut off or had impossible counts, so the usage is a lower bound.
    """

    usage: Usage | None
    model: str | None  # the name in the answer
    provider: str | None  # a value of OpenTelemetry's `gen_ai.provider.name`
    status: Literal["reported", "partial", "none"]
    missing: Missing | None


class Part(NamedTuple):
    """The usage of one of several answers, or of another model within one."""

    reading: Reading
    answer: str | None = None  # its id


Others = Sequence[Part]


class Reader(Protocol):
    """A reader of one answer's body. Neither method raises, and the memory held is bounded."""

    @property
    def failed(self) -> bool:
        """Whether the answer reported an error; a stream does so in place of its end."""

    @property
    def has_content(self) -> bool:
        """Whether any content of the answer has passed; comments, pings and opening events have none."""

    @property
    def events(self) -> int:
        """The number of events of a stream that have passed, not counting comments."""

    @property
    def empty_events(self) -> int:
        """The number of events without content: keep-alives and the end marker."""

    @property
    def is_final(self) -> bool:
        """Whether all usage has been reported, as far as the answer shows."""

    @property
    def is_rpc(self) -> bool:
        """Whether the answer is JSON-RPC, as in MCP."""

    @property
    def answer(self) -> str | None:
        """The id of the answer, once known; if there are several, the last one's."""

    @property
    def others(self) -> Others:
        """Other answers and other models' parts, each with its own price; set by `close`."""

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk. Buffers other than bytes, which some hosts send, are copied."""

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read; call once. `complete` is False if the answer was cut off."""
