"""What an answer told of its usage, and the reader that finds out while the answer passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from keygauge.usage.counts import Usage

Missing = Literal[
    "no_usage",  # the answer was read and names no counts
    "not_json",  # its bytes are not what its content type says
    "bad_counts",  # it names counts that cannot be (negative, no numbers, more than their whole): those are left out
    "too_large",  # the part that would tell is past a bound
    "cut",  # it ended before it told, or before it told all
    "undecodable",  # its content encoding is broken, or nothing on this machine decodes it
]


class Reading(NamedTuple):
    """The usage of one answer; `missing` says why when the status is not `reported`.

    `partial`: the answer was cut, or told counts that cannot be; what is left is a lower bound.
    """

    usage: Usage | None
    model: str | None  # as the answer names it
    provider: str | None  # a value of OpenTelemetry's `gen_ai.provider.name`
    status: Literal["reported", "partial", "none"]
    missing: Missing | None


class Part(NamedTuple):
    """The usage of one answer of several, or another model's part in it."""

    reading: Reading
    answer: str | None = None  # its id


Others = Sequence[Part]


class Reader(Protocol):
    """Read one answer's body. Neither method raises; what is held of the body is bounded."""

    @property
    def failed(self) -> bool:
        """Whether a stream told an error in place of its end."""

    @property
    def has_content(self) -> bool:
        """Whether anything of the answer itself has passed; comments, pings and opening events have nothing of it."""

    @property
    def events(self) -> int:
        """How many events of a stream have passed, comments left out."""

    @property
    def empty_events(self) -> int:
        """How many of these say nothing: keep-alives, and the mark of the end."""

    @property
    def is_final(self) -> bool:
        """Whether all usage is told that is to come, as far as the answer says."""

    @property
    def is_rpc(self) -> bool:
        """Whether it answers by JSON-RPC, as MCP does."""

    @property
    def answer(self) -> str | None:
        """The id of the answer, once it is known; of several that of the last."""

    @property
    def others(self) -> Others:
        """Other answers and other models' parts, each with its own price; known after `close`."""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk as it is sent; other buffers than bytes, which some hosts send, are copied."""

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read; call once. `complete` is False if the answer was cut."""
