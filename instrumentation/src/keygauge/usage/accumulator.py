"""The usage in a body, a stream or a session so far: usually of one answer, sometimes of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keygauge.usage import providers
from keygauge.usage.counts import UNREPORTED, Usage, fitted, whole
from keygauge.usage.providers import Found, RawUsage, Stage
from keygauge.usage.providers.names import settle
from keygauge.usage.reading import Missing, Others, Part, Reading

_FIELDS = RawUsage._fields[:-2]
_INPUT = ("input", "cache_read", "cache_write")
_INPUT_NAMES = frozenset(_INPUT)
_KEPT_LONG = "cache_write_1h"
_SPOILED = {"spoiled"}
_MAX_ANSWERS = 256  # per stream; the usage of further ones is added to the last
_STAGES: tuple[Stage, ...] = ("opening", "running", "final")


class _Answer:
    """The counts of one answer.

    Counts are cumulative in every provider's stream, so the largest of each applies: nothing is lost if a later event
    has 0 or leaves one out. The input and its two cache counts belong together: tokens that a later event moves from
    one of the three to another are not counted twice.
    """

    __slots__ = (
        *("_are_apart", "_choices", "_done", "_ended", "bad", "counts", "details", "goes_on", "last", "model", "name"),
        *("others", "provider"),
    )

    def __init__(self, name: str | None, provider: str | None = None, *, goes_on: bool = False) -> None:
        self._are_apart = False  # whether each choice reports its own output, not the sum of all
        self._choices: dict[int, int] = {}  # output per choice, from chunks with one choice
        self._done = UNREPORTED  # usage of earlier answers merged into this one
        self._ended: set[int] = set()  # choices that have ended
        self.bad: set[str] = set()  # names of impossible counts
        self.counts: dict[str, int] = {}
        self.details: dict[str, int] = {}
        self.goes_on = goes_on  # may continue the previous answer under another id
        self.last: Found | None = None  # the last document with counts
        self.model: str | None = None
        self.name = name
        self.others: Sequence[tuple[str, RawUsage]] = ()
        self.provider = provider

    @property
    def tells(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.counts or self.details) or self._done is not UNREPORTED

    @property
    def stage(self) -> Stage:
        """How far the answer is."""
        if self.last is None or (len(self._choices) > len(self._ended) and self.last.choice is not None):
            return "running"
        return self.last.stage

    def take(self, found: Found) -> None:
        """Add the counts of one document."""
        counts, details, bad = _check(found.raw)
        self._add(counts, details, bad, found)
        self.bad.update(name for _, new in found.others for name in _check(new)[2])

    def join(self, other: _Answer) -> None:
        """Merge an answer that turned out to be the same."""
        if other.last is not None:
            self._add(other.counts, other.details, other.bad, other.last)
        self.bad |= other.bad
        self.model = other.model or self.model

    def begin_another(self) -> None:
        """Keep the usage so far and start another answer in this object."""
        self._done = self.sum()[0]
        self.counts, self.details, self.last = {}, {}, None
        self._choices, self._ended = {}, set()

    def sum(self) -> tuple[Usage, bool]:
        """Return the usage in the normal form, and whether a count had to be reduced to fit."""
        if self.last is None:
            return self._done, False
        usage, was_cut = fitted(_normal(self.counts, self.details, self.last))
        return (usage if self._done is UNREPORTED else (self._done + usage).clipped()), was_cut

    def _add(self, counts: dict[str, int], details: dict[str, int], bad: set[str], found: Found) -> None:
        self.model = found.model or self.model
        self.provider = found.provider or self.provider
        self.others = found.others or self.others
        if found.replaces:
            self.counts, self.details = {}, {}
        elif found.cache_is_beside:
            self._settle_input(counts)
        if found.choice is not None:
            self._add_choice(found.choice, counts, found.stage)
        elif self._are_apart and found.trails:  # its output is that of all choices
            self.counts.pop("output", None)
        for kept, new in ((self.counts, counts), (self.details, details)):
            for name, count in new.items():
                kept[name] = max(count, kept.get(name, 0))
        if counts or details:
            self.last = found
        self.bad |= bad
        if found.stage == "final":  # a valid final count makes up for a bad one before it
            self.bad -= {name for name, count in (counts | details).items() if count}

    def _add_choice(self, choice: int, counts: dict[str, int], stage: Stage) -> None:
        """Add the output of one choice. If it is not larger than another's, each reports its own, as in vLLM."""
        if stage == "final":
            self._ended.add(choice)
        made = counts.get("output", 0)
        self._are_apart |= any(0 < made <= other for place, other in self._choices.items() if place != choice)
        self._choices[choice] = max(made, self._choices.get(choice, 0))
        if self._are_apart:
            counts["output"] = sum(self._choices.values())

    def _settle_input(self, counts: dict[str, int]) -> None:
        """Choose the input and cache counts: the later ones, unless their sum is smaller."""
        if not self.counts or _INPUT_NAMES.isdisjoint(counts):  # the usual first and last document
            return
        kept = {name: self.counts[name] for name in _INPUT if name in self.counts}
        later = kept | {name: counts[name] for name in _INPUT if name in counts}
        held = later if sum(later.values()) >= sum(kept.values()) else kept
        counts |= {name: held[name] for name in _INPUT if name in counts}
        self.counts |= held
        if self.details.get(_KEPT_LONG):
            self.details[_KEPT_LONG] = min(self.details[_KEPT_LONG], held.get("cache_write", 0))


class Accumulator:
    """The usage of the answers in a sequence of documents, per answer, since each has its own price.

    Answers are recognized by their ids. A new id before the end of an answer may belong to the same answer, since some
    gateways give every chunk a new one. If an id reappears after another, they are different answers, interleaved.
    """

    __slots__ = ("_answers", "_host", "_named", "_now", "_takes_turns", "failed", "id", "is_rpc", "model", "others")

    def __init__(self) -> None:
        self.failed = False
        self.id: str | None = None  # the answer's; if there are several, the last one's after `read`
        self.is_rpc = False
        self.model: str | None = None  # the first one named
        self.others: Others = ()  # after `read`: all answers but the last, and the parts of other models
        self._answers: list[_Answer] = []
        self._host: str | None = None  # the provider that served it, if known
        self._named: dict[str, _Answer] = {}
        self._now: _Answer | None = None  # the answer of the last document
        self._takes_turns = False

    @property
    def is_final(self) -> bool:
        """Whether all usage has been reported, provided that the answer ends now."""
        self._join()
        return any(one.tells for one in self._answers) and all(one.stage != "opening" for one in self._answers)

    @property
    def last(self) -> tuple[Usage, str | None]:
        """The usage of the last answer so far, and its model."""
        if not self._answers:
            return UNREPORTED, self.model
        return self._answers[-1].sum()[0], self._answers[-1].model or self.model

    def take(self, document: object) -> None:
        """Add one parsed document."""
        self.failed = self.failed or providers.is_error(document)
        self.is_rpc = self.is_rpc or (isinstance(document, dict) and "jsonrpc" in document)
        found = providers.find(document)
        for one in found:
            self._take(one)
        if not found:
            self.model = self.model or providers.find_model(document)
        self.id = self.id or providers.find_id(document)
        self._host = self._host or providers.find_host(document)

    def end_answer(self) -> None:
        """Treat the following documents as another answer, even without an id."""
        self._now = None

    def take_ended(self) -> Others:
        """Remove and return the answers before the last one, which are complete."""
        ended, self._answers = self._answers[:-1], self._answers[-1:]
        for one in ended:
            self._named.pop(one.name or "", None)
        return [part for one in ended for part in self._parts(one, complete=True)]

    def read(self, *, complete: bool, reason: Missing | None = None) -> Reading:
        """Return the usage of the last answer; `reason` is why the reader could not read all of it."""
        if len(self._answers) > 1:
            self._join()
        *before, last = self._answers or [_Answer(None)]
        self.id = last.name or self.id
        if before or last.others:
            parts = [part for one in before for part in self._parts(one, complete=complete, reason=reason)]
            self.others = [*parts, *self._others(last)]
        return self._read(last, complete=complete, reason=reason)

    def _parts(self, one: _Answer, *, complete: bool, reason: Missing | None = None) -> Others:
        """Return the usage of an answer and the parts of other models in it."""
        return [Part(self._read(one, complete=complete, reason=reason), one.name), *self._others(one)]

    def _others(self, one: _Answer) -> Others:
        return [Part(Reading(_read_alone(raw), model, self._host, "reported", None)) for model, raw in one.others]

    def _read(self, one: _Answer, *, complete: bool, reason: Missing | None) -> Reading:
        usage, was_cut = one.sum()
        model = one.model or self.model
        shape = settle(one.provider, model) if one.provider or usage is not UNREPORTED else None
        provider = self._host or shape
        if usage is UNREPORTED:
            missing = "bad_counts" if one.bad else reason or ("no_usage" if complete else "cut")
            return Reading(None, model, provider, "none", missing)
        if one.bad or was_cut:
            return Reading(usage, model, provider, "partial", "bad_counts")
        if one.stage == "final" or (complete and reason is None and one.stage == "running"):
            return Reading(usage, model, provider, "reported", None)
        return Reading(usage, model, provider, "partial", reason or "cut")

    def _take(self, found: Found) -> None:
        answer = self._now = self._find(found)
        answer.take(found)
        answer.model = answer.model or self.model
        self.model = self.model or found.model

    def _find(self, found: Found) -> _Answer:
        """Return the answer that a document belongs to."""
        now, name = self._now, found.answer
        if now is None:
            return self._begin(found)
        if name is None or now.name is None or name == now.name:
            if found.stage == "opening" and now.stage == "final":
                return self._begin(found)
            if now.name is None and name is not None:
                now.name = name
                self._named[name] = now
            return now
        if name in self._named:
            self._takes_turns = True
            return self._named[name]
        begins = found.stage == "opening" or (now.stage == "final" and not _tells_again(now, found))
        return self._begin(found, goes_on=not begins)

    def _begin(self, found: Found, *, goes_on: bool = False) -> _Answer:
        before = self._answers[-1] if self._answers else None
        if before is not None and len(self._answers) >= _MAX_ANSWERS:
            if not goes_on:
                before.begin_another()
            before.name = found.answer
            return before
        answer = _Answer(found.answer, None if before is None else before.provider, goes_on=goes_on)
        self._answers.append(answer)
        if answer.name is not None:
            self._named[answer.name] = answer
        return answer

    def _join(self) -> None:
        """Merge answers that may be the same, unless an id has reappeared after another."""
        if self._takes_turns or not any(one.goes_on for one in self._answers):
            return
        answers: list[_Answer] = []
        for one in self._answers:
            if one.goes_on and answers:
                answers[-1].join(one)
                self._named |= {name: answers[-1] for name, answer in self._named.items() if answer is one}
            else:
                answers.append(one)
        self._answers = answers
        self._now = self._now and answers[-1]


class DocumentsReader:
    """Base of readers of several documents: the events of a stream or the messages of a session."""

    __slots__ = ("_accumulator", "empty_events", "events", "has_content")

    def __init__(self) -> None:
        self._accumulator = Accumulator()
        self.events = 0
        self.empty_events = 0
        self.has_content = False

    @property
    def failed(self) -> bool:
        """Whether a document reported an error."""
        return self._accumulator.failed

    @property
    def is_final(self) -> bool:
        """Whether all usage has been reported."""
        return self._accumulator.is_final

    @property
    def is_rpc(self) -> bool:
        """Whether the answer is JSON-RPC."""
        return self._accumulator.is_rpc

    @property
    def answer(self) -> str | None:
        """The id of the answer; if there are several, the last one's after `close`."""
        return self._accumulator.id

    @property
    def others(self) -> Others:
        """Other answers and other models' parts, each priced separately; set by `close`."""
        return self._accumulator.others


def _tells_again(last: _Answer, found: Found) -> bool:
    """Return whether a chunk without choices repeats the last one's usage, though each chunk has its own id."""
    told = last.last
    return told is not None and found.trails and not told.trails and found.raw.input == told.raw.input


def _check(raw: RawUsage) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """Return the valid counts, the valid details, and the names of invalid ones."""
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
        elif total > given + (made or 0):  # reasoning that is not reported separately
            made = total - given
    return Usage(given, made, read, written, reasoned, details or None)
