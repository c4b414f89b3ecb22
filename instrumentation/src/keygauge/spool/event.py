"""Usage events as lines of a spool: JSON arrays in the order of `FIELDS`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import get_args

from msgspec.json import Encoder

from keygauge.call import UNMATCHED, Call, StreamKind
from keygauge.text import printable
from keygauge.usage import Usage

# Times are microseconds (`time_us` since 1970 UTC), sizes bytes, `details` counts by kind. null means unknown, never 0.
FIELDS = (
    "time_us",
    "account",
    "key",
    "route",
    "method",
    "status",
    "error",
    "ip",
    "duration_us",
    "first_token_us",
    "request_bytes",
    "response_bytes",
    "stream",
    "messages",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "usage_status",
    "outcome",
    "limit",
    "trace_id",
    "details",
    "requested_model",
    "tag",
)

_NO_USAGE = Usage()
_MOST_TEXTS = 10_000
_LONGEST_US = 2**41
_NO_STATUS = 599  # replaces invalid HTTP statuses

_encode = Encoder().encode


class _Texts(dict[str | None, str | None]):
    """A cache of cleaned texts, since most repeat; it is emptied when full, as hostile variety would fill it."""

    def __missing__(self, text: str | None) -> str | None:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        fit = self[text] = None if text is None else self._fit(text)
        return fit

    def _fit(self, text: str) -> str | None:
        return printable(text)


class _Addresses(_Texts):
    """The same for IP addresses; text from a proxy's header that is no address becomes None."""

    def _fit(self, text: str) -> str | None:
        try:
            return str(ip_address(text)) if text.isascii() and text.isprintable() else None
        except ValueError:
            return None


_texts = _Texts()
_addresses = _Addresses()


def sound(call: Call) -> Call:
    """Copy a call without values of the wrong type, for calls in which an app set some; they become unknown."""
    return Call(
        method=_text(call.method) or "",
        ip=_text(call.ip),
        time_ns=call.time_ns,
        started_ns=call.started_ns,
        ended_ns=call.ended_ns,
        account=call.account,
        key=call.key,
        route=_text(call.route) or UNMATCHED,
        status=_count(call.status) or 0,
        error=_text(call.error),
        first_byte_ns=call.first_byte_ns,
        request_bytes=_count(call.request_bytes) or 0,
        response_bytes=_count(call.response_bytes) or 0,
        stream=call.stream if call.stream in get_args(StreamKind) else None,
        messages=_count(call.messages) or 0,
        model=_text(call.model),
        provider=_text(call.provider),
        usage=Usage._make([*map(_count, call.usage[:5]), None]) if isinstance(call.usage, Usage) else None,
        usage_status=call.usage_status if isinstance(call.usage, Usage) else "none",
        outcome=call.outcome,
        limit=_text(call.limit),
        trace_id=_text(call.trace_id),
        requested_model=_text(call.requested_model),
        tag=_text(call.tag),
    )


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def line(call: Call) -> bytes:
    """Encode a finished call as a spool line, newline included; the ledger accepts it for any caller input."""
    text = _texts
    given, made, read, written, reasoned, details = call.usage or _NO_USAGE
    status = call.status
    started_ns = call.started_ns
    duration_us = (call.ended_ns - started_ns) // 1000
    first_token_us = (call.first_byte_ns - started_ns) // 1000 if call.first_byte_ns else None
    if not 0 <= (first_token_us or 0) <= duration_us <= _LONGEST_US:
        duration_us = min(max(duration_us, 0), _LONGEST_US)
        first_token_us = first_token_us and min(max(first_token_us, 0), _LONGEST_US)
    return (
        _encode(
            (
                call.time_ns // 1000,
                call.account,
                call.key,
                text[call.route],
                text[call.method],
                status if 100 <= status <= 999 else _NO_STATUS,  # noqa: PLR2004 - three digits
                call.error and text[call.error],
                _addresses[call.ip],
                duration_us,
                first_token_us,
                call.request_bytes,
                call.response_bytes,
                call.stream,
                call.messages,
                text[call.model],
                call.provider and text[call.provider],
                given,
                made,
                read,
                written,
                reasoned,
                call.usage_status,
                call.outcome,
                call.limit and text[call.limit],
                call.trace_id,
                details or None,
                text[call.requested_model],
                call.tag,
            )
        )
        + b"\n"
    )
