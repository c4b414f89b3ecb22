"""The counts of an answer so far: one document of a body, many of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import reduce
from typing import Any

from keygauge.usage import providers
from keygauge.usage.counts import UNREPORTED, Usage, fitted, whole
from keygauge.usage.providers import Found, RawUsage, Stage
from keygauge.usage.providers.names import settle
from keygauge.usage.reading import Missing, Others, Reading

_FIELDS = RawUsage._fields[:-2]
_INPUT = ("input", "cache_read", "cache_write")
_INPUT_NAMES = frozenset(_INPUT)
_KEPT_LONG = "cache_write_1h"
_SPOILED = {"spoiled"}
_MAX_PARTS = 256  # answers told apart in one stream
_STAGES: tuple[Stage, ...] = ("opening", "running", "final")


class Accumulator:
    """Take documents in their order.

    Counts of one answer are cumulative in every provider's stream, so of each the largest holds: where a later event
    tells 0, or leaves one out, nothing is lost. An input and what is told of caches beside it belong together: tokens
    that a later event moves from one of the three to another are not counted in both. Several answers in one stream,
    each with an id of its own, are summed. Where one is told of again after another, they take turns: then each has
    its own largest counts.
    """

    __slots__ = (
        "_answer",
        "_bad",
        "_counts",
        "_details",
        "_done",
        "_host",
        "_is_bad_before",
        "_last",
        "_others",
        "_parts",
        "_provider",
        "_stage",
        "_takes_turns",
        "failed",
        "id",
        "is_rpc",
        "model",
    )

    def __init__(self) -> None:
        self.failed = False
        self.id: str | None = None  # of the answer
        self.is_rpc = False
        self.model: str | None = None
        self._answer: str | None = None
        self._bad: set[str] = set()  # counts that were told and cannot be
        self._counts: dict[str, int] = {}
        self._details: dict[str, int] = {}
        self._done = UNREPORTED  # of the answers before this one
        self._host: str | None = None  # who served it, where that is told
        self._is_bad_before = False  # in an answer before this one
        self._last: Found | None = None
        self._others: Sequence[tuple[str, RawUsage]] = ()
        self._parts: dict[str, Accumulator] | None = {}  # from the second id on; None: answers without ids
        self._provider: str | None = None
        self._stage: Stage = "running"
        self._takes_turns = False

    @property
    def tells(self) -> bool:
        """Whether there is anything to count."""
        return bool(self._counts or self._details) or self._done is not UNREPORTED

    @property
    def is_final(self) -> bool:
        """Whether all is told, provided that the answer ends now."""
        return self._least_stage != "opening" and self.tells

    def take(self, document: object) -> None:
        """Look into one parsed document."""
        self.failed = self.failed or providers.is_error(document)
        self.is_rpc = self.is_rpc or (isinstance(document, dict) and "jsonrpc" in document)
        found = providers.find(document)
        for one in found:
            self._take(one)
        if not found:
            self.model = self.model or providers.find_model(document)
        self.id = self.id or providers.find_id(document)
        self._host = self._host or providers.find_host(document)

    @property
    def usage(self) -> Usage:
        """What was told so far."""
        return self._sum()[0]

    def end_answer(self) -> None:
        """Treat what follows as another answer, though it has no id."""
        self._close_answer()
        self._parts, self._takes_turns = None, False

    def _close_answer(self) -> None:
        self._done = self._sum_in_turn()[0]
        self._counts, self._details, self._answer = {}, {}, None
        self._is_bad_before, self._bad = self._is_bad_before or bool(self._bad), set()

    def read(self, *, complete: bool, reason: Missing | None = None) -> Reading:
        """Sum up; `reason` is why the reader could not see all of the answer."""
        usage, was_cut = self._sum()
        is_bad = any(one._bad or one._is_bad_before for one in self._told)  # noqa: SLF001 - of the same class
        shape = settle(self._provider, self.model) if self._provider or usage is not UNREPORTED else None
        provider = self._host or shape
        if usage is UNREPORTED:
            missing = "bad_counts" if is_bad else reason or ("no_usage" if complete else "cut")
            return Reading(None, self.model, provider, "none", missing)
        if is_bad or was_cut:
            return Reading(usage, self.model, provider, "partial", "bad_counts")
        stage = self._least_stage
        if stage == "final" or (complete and reason is None and stage == "running"):
            return Reading(usage, self.model, provider, "reported", None)
        return Reading(usage, self.model, provider, "partial", reason or "cut")

    @property
    def others(self) -> Others:
        """Other models' part in the answer."""
        return [(model, _read_alone(raw)) for model, raw in self._others]

    def _take(self, found: Found) -> None:
        self._take_apart(found)
        if self._begins_another(found):
            self._close_answer()
        self.model = found.model or self.model
        self._provider = found.provider or self._provider
        self._answer = found.answer or self._answer
        self._others = found.others or self._others
        counts, details, bad = _check(found.raw)
        if found.replaces:
            self._counts, self._details = {}, {}
        elif found.cache_is_beside:
            self._settle_input(counts)
        for kept, new in ((self._counts, counts), (self._details, details)):
            for name, count in new.items():
                kept[name] = max(count, kept.get(name, 0))
        if counts or details:
            self._last, self._stage = found, found.stage
        self._bad |= bad
        if found.stage == "final":  # what the last word tells, a bad one before it does no harm
            self._bad -= {name for name, count in (counts | details).items() if count}
        self._bad.update(name for _, new in found.others for name in _check(new)[2])

    def _take_apart(self, found: Found) -> None:
        """Keep the counts of each answer by themselves too, for the case that they take turns."""
        name = found.answer or self._answer
        if name is None or self._parts is None:
            self._parts = None
            return
        if not self._parts:
            if self._answer in (None, name):
                return
            self._parts[self._answer] = self._copy()
        self._takes_turns |= name in self._parts and name != self._answer
        place = name if name in self._parts or len(self._parts) < _MAX_PARTS else ""
        if place not in self._parts:
            self._parts[place] = Accumulator()
            self._parts[place]._parts = None  # noqa: SLF001 - of the same class
        self._parts[place]._take(found)  # noqa: SLF001 - of the same class

    def _copy(self) -> Accumulator:
        """Return the same with counts of its own."""
        same = copy(self)
        same._parts, same._counts, same._details = None, dict(self._counts), dict(self._details)  # noqa: SLF001 - of the same class
        same._bad = set(self._bad)  # noqa: SLF001 - of the same class
        return same

    @property
    def _told(self) -> Sequence[Accumulator]:
        """What is told of each answer, where answers take turns."""
        return list(self._parts.values()) if self._takes_turns and self._parts else [self]

    @property
    def _least_stage(self) -> Stage:
        stages = {one._stage for one in self._told}  # noqa: SLF001 - of the same class
        return next(stage for stage in _STAGES if stage in stages)

    def _settle_input(self, counts: dict[str, int]) -> None:
        """Decide whose word on the input and the caches holds: the later one's, unless it tells less of all three."""
        if not self._counts or _INPUT_NAMES.isdisjoint(counts):  # the usual first and last word
            return
        kept = {name: self._counts[name] for name in _INPUT if name in self._counts}
        later = kept | {name: counts[name] for name in _INPUT if name in counts}
        held = later if sum(later.values()) >= sum(kept.values()) else kept
        counts |= {name: held[name] for name in _INPUT if name in counts}
        self._counts |= held
        if self._details.get(_KEPT_LONG):
            self._details[_KEPT_LONG] = min(self._details[_KEPT_LONG], held.get("cache_write", 0))

    def _begins_another(self, found: Found) -> bool:
        if self._last is None:
            return False
        is_another = None is not found.answer != self._answer is not None
        if found.stage == "opening":
            return is_another or self._stage == "final"
        return is_another and self._stage == "final" and not self._tells_again(found)

    def _tells_again(self, found: Found) -> bool:
        """Return whether a chunk without choices repeats the last one's usage, though each chunk has its own id."""
        last = self._last
        return last is not None and found.trails and not last.trails and found.raw.input == last.raw.input

    def _sum(self) -> tuple[Usage, bool]:
        """Return all that was told, in the normal form; True where a part was larger than its whole."""
        sums = [one._sum_in_turn() for one in self._told]  # noqa: SLF001 - of the same class
        if len(sums) == 1:
            return sums[0]
        usage = reduce(Usage.__add__, (usage for usage, _ in sums))
        return usage.clipped(), any(was_cut for _, was_cut in sums)

    def _sum_in_turn(self) -> tuple[Usage, bool]:
        if self._last is None or not (self._counts or self._details):
            return self._done, False
        usage, was_cut = fitted(_normal(self._counts, self._details, self._last))
        return (usage if self._done is UNREPORTED else (self._done + usage).clipped()), was_cut


class DocumentsReader:
    """What readers share whose answers are several documents: events of a stream, or messages of a session."""

    __slots__ = ("_accumulator", "empty_events", "events", "has_content")

    def __init__(self) -> None:
        self._accumulator = Accumulator()
        self.events = 0
        self.empty_events = 0
        self.has_content = False

    @property
    def failed(self) -> bool:
        """Whether one told an error."""
        return self._accumulator.failed

    @property
    def is_final(self) -> bool:
        """Whether all usage is told."""
        return self._accumulator.is_final

    @property
    def is_rpc(self) -> bool:
        """Whether it answers by JSON-RPC."""
        return self._accumulator.is_rpc

    @property
    def answer(self) -> str | None:
        """The id of the answer; where there are several, of the first."""
        return self._accumulator.id

    @property
    def others(self) -> Others:
        """Other models' part in the answer."""
        return self._accumulator.others


def _check(raw: RawUsage) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """Return what can be counts, and the names of what cannot."""
    given: list[tuple[str, Any]] = [
        (name, value) for name, value in zip(_FIELDS, raw, strict=False) if value is not None
    ]
    counts = {name: count for name, value in given if (count := whole(value)) is not None}
    details = {kind: count for kind, value in raw.details.items() if (count := whole(value)) is not None}
    bad = {name for name, _ in given if name not in counts} | (raw.details.keys() - details.keys())
    return counts, details, bad | _SPOILED if raw.is_spoiled else bad


def _read_alone(raw: RawUsage) -> Usage:
    counts, details, _ = _check(raw)
    return fitted(_normal(counts, details, Found(raw, None, None, cache_is_beside=True)))[0]


def _normal(counts: dict[str, int], details: dict[str, int], how: Found) -> Usage:
    given, made = counts.get("input"), counts.get("output")
    read, written, reasoned = counts.get("cache_read"), counts.get("cache_write"), counts.get("reasoning")
    if how.cache_is_beside and given is not None:
        given += (read or 0) + (written or 0)
    if "tool_input" in counts:
        given = (given or 0) + counts["tool_input"]
    if how.reasoning_is_beside and reasoned:
        made = (made or 0) + reasoned
    total = counts.get("total")
    if total is not None:
        if given is None:
            given = total - (made or 0) if total >= (made or 0) else None
        elif total > given + (made or 0):  # what was thought and is not told
            made = total - given
    return Usage(given, made, read, written, reasoned, details or None)
