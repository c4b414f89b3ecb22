"""Parsing and validation of one spool line: the result is an event, or the reason why it is refused."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from msgspec import Meta

from keygauge.call import Outcome
from keygauge.tag import LENGTH_MAX as TAG_LENGTH_MAX

LINE_BYTES_MAX = 16 * 1024
AGE_MAX = timedelta(days=400)  # of an event on arrival; see config.retention_days for how long it is kept
AHEAD_MAX = timedelta(days=1)  # how far a sender's clock may be ahead
TEXT_LENGTH_MAX = 512  # characters

TOKENS_MAX = 10**9
COUNT_MAX = 1 << 42  # bytes, messages and microseconds (50 days); the sum of two million of them still fits a bigint
STATUS_MIN, STATUS_MAX = 100, 999  # any three digits, since some hosts send statuses beyond 599

# Constraints that the parser of `batch` checks.
_Status: TypeAlias = Annotated[int, Meta(ge=STATUS_MIN, le=STATUS_MAX)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
_Tokens: TypeAlias = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
_KIND = r"^[a-z][a-z0-9_]{0,39}\Z"  # a kind of use; unknown ones are accepted, because replicas may be newer
_Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=TAG_LENGTH_MAX)]
_Kind: TypeAlias = Annotated[str, Meta(pattern=_KIND)]
KINDS_MAX = 32


class Event(NamedTuple):
    """One call, in the order of `keygauge.spool.event.FIELDS`; None means unknown, not 0.

    New fields are added at the end and default to None, so that lines of older replicas stay valid. Additional fields
    of newer replicas are ignored.
    """

    time_us: int
    account: str
    key: str
    route: str
    method: str
    status: _Status
    error: str | None
    ip: str | None
    duration_us: _Count
    first_token_us: _Count | None
    request_bytes: _Count
    response_bytes: _Count
    stream: str | None
    messages: _Count
    model: str | None
    provider: str | None
    input_tokens: _Tokens | None
    output_tokens: _Tokens | None
    cache_read_tokens: _Tokens | None
    cache_write_tokens: _Tokens | None
    reasoning_tokens: _Tokens | None
    usage_status: str
    outcome: str
    limit: str | None
    trace_id: str | None
    details: dict[_Kind, _Tokens] | None = None
    requested_model: str | None = None
    tag: _Tag | None = None


class Refusal(StrEnum):
    """Why an event is refused; the values are stable, because they appear in responses and metrics."""

    LINE_TOO_LONG = "line_too_long"
    BAD_JSON = "bad_json"
    WRONG_LENGTH = "wrong_length"
    WRONG_TYPE = "wrong_type"
    BAD_TEXT = "bad_text"  # too long, or with non-printable characters
    BAD_CHOICE = "bad_choice"  # an outcome, usage status or stream kind that does not exist
    BAD_STATUS = "bad_status"
    BAD_TIME = "bad_time"
    NEGATIVE_COUNT = "negative_count"
    NEGATIVE_TOKENS = "negative_tokens"
    ABSURD_SIZE = "absurd_size"
    UNKNOWN_KEY = "unknown_key"  # no such key in that account
    KEY_NOT_LOOKED_UP = "key_not_looked_up"  # the reporting service never looked up the key
    IMPLAUSIBLE_EVENT = "implausible_event"  # see `plausible`
    IMPLAUSIBLE_BATCH = "implausible_batch"
    UNSTORABLE = "unstorable"  # PostgreSQL cannot hold it


class Window(NamedTuple):
    """The half-open range of valid event times, in microseconds since 1970 UTC."""

    start_us: int
    end_us: int


FIELD_TYPES = tuple(
    frozenset(get_origin(choice) or choice for choice in get_args(hint) or (hint,))
    for hint in get_type_hints(Event).values()
)
_FIELDS = len(FIELD_TYPES)
_FIELDS_MIN = _FIELDS - len(Event._field_defaults)  # in the first version of the format
OUTCOMES = frozenset(get_args(Outcome))
USAGE_STATUSES = frozenset(("reported", "partial", "estimated", "none"))
STREAMS = frozenset((None, "sse", "ndjson", "eventstream", "websocket"))
_decode = json.JSONDecoder().raw_decode
_is_kind = re.compile(_KIND).search


def read_line(line: bytes, *, window: Window) -> Event | Refusal:
    """Parse and validate one line; never raise, whatever the input."""
    if len(line) > LINE_BYTES_MAX:
        return Refusal.LINE_TOO_LONG
    try:
        text = line.decode()
        values, end = _decode(text)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of 5,000 digits, nested too deeply
        return Refusal.BAD_JSON
    if end != len(text):
        return Refusal.BAD_JSON
    if type(values) is not list:
        return Refusal.WRONG_TYPE
    if len(values) < _FIELDS_MIN:
        return Refusal.WRONG_LENGTH
    values = [*values[:_FIELDS], *[None] * (_FIELDS - len(values))]
    if not _types_fit(tuple(map(type, values))):
        return Refusal.WRONG_TYPE
    event = Event._make(values)
    if not (_is_short_and_plain(line) or all(map(_text_fits, values))) or not _tag_fits(event.tag):
        return Refusal.BAD_TEXT
    return _check_values(event, window) or _check_counts(event) or _check_details(event.details) or event


@lru_cache(maxsize=4096)
def _types_fit(types: tuple[type, ...]) -> bool:
    return all(found in allowed for found, allowed in zip(types, FIELD_TYPES, strict=True))


def _is_short_and_plain(line: bytes) -> bool:
    """Return whether all texts in a line are certainly valid, as is almost always the case; JSON bars raw controls."""
    return len(line) <= TEXT_LENGTH_MAX and line.isascii() and b"\\" not in line and b"\x7f" not in line


def _text_fits(value: str | int | None) -> bool:
    """Return whether a text is valid: no NUL or lone surrogates (PostgreSQL), no control characters, not too long."""
    return not isinstance(value, str) or (len(value) <= TEXT_LENGTH_MAX and value.isprintable())


def _tag_fits(tag: str | None) -> bool:
    return tag is None or 0 < len(tag) <= TAG_LENGTH_MAX


def _check_values(event: Event, window: Window) -> Refusal | None:
    if event.outcome not in OUTCOMES or event.usage_status not in USAGE_STATUSES or event.stream not in STREAMS:
        return Refusal.BAD_CHOICE
    if not STATUS_MIN <= event.status <= STATUS_MAX:
        return Refusal.BAD_STATUS
    if not window.start_us <= event.time_us < window.end_us:
        return Refusal.BAD_TIME
    return None


def _check_counts(event: Event) -> Refusal | None:
    counts = (
        event.duration_us,
        event.first_token_us or 0,
        event.request_bytes,
        event.response_bytes,
        event.messages,
    )
    if min(counts) < 0:
        return Refusal.NEGATIVE_COUNT
    tokens = (
        event.input_tokens or 0,
        event.output_tokens or 0,
        event.cache_read_tokens or 0,
        event.cache_write_tokens or 0,
        event.reasoning_tokens or 0,
    )
    if min(tokens) < 0:
        return Refusal.NEGATIVE_TOKENS
    return Refusal.ABSURD_SIZE if max(counts) > COUNT_MAX or max(tokens) > TOKENS_MAX else None


def _check_details(details: dict[Any, Any] | None) -> Refusal | None:
    if not details:
        return None
    if len(details) > KINDS_MAX or not all(map(_is_kind, details)):
        return Refusal.BAD_CHOICE
    counts = details.values()
    if any(type(count) is not int for count in counts):
        return Refusal.WRONG_TYPE
    if min(counts) < 0:
        return Refusal.NEGATIVE_TOKENS
    return Refusal.ABSURD_SIZE if max(counts) > TOKENS_MAX else None
