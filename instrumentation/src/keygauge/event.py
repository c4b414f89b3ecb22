"""One line of the usage ledger, as a spool holds it: a JSON array in the order of `FIELDS`."""

from __future__ import annotations

import json
from ipaddress import ip_address

from keygauge.call import Call
from keygauge.usage import Usage

# Times in microseconds (`time` since 1970 UTC), sizes in bytes. null is "not known", never 0.
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
)

_NO_USAGE = Usage()
_MOST_TEXTS = 10_000
_LONGEST_TEXT = 256  # characters
_LONGEST_US = 2**41
_NO_STATUS = 599  # for what is no HTTP status at all


def as_written(text: str) -> str:
    """Cut a text, and put a question mark for what does not print."""
    text = text[:_LONGEST_TEXT]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


class _Texts(dict[str | None, str]):
    """Texts as JSON, kept since the same few come again and again; hostile variety only empties what is kept."""

    def __missing__(self, text: str | None) -> str:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        written = self[text] = json.dumps(None if text is None else self._fit(text))
        return written

    def _fit(self, text: str) -> str | None:
        return as_written(text)


class _Addresses(_Texts):
    """The same of IP addresses: what a proxy's header says may be anything."""

    def _fit(self, text: str) -> str | None:
        try:
            return str(ip_address(text)) if text.isascii() and text.isprintable() else None
        except ValueError:
            return None


_texts = _Texts()
_addresses = _Addresses()


def line(call: Call) -> bytes:
    """Write an ended call as a spool's line, newline included: one that the ledger takes, whatever a caller sent."""
    text = _texts
    first_byte_ns = call.first_byte_ns
    started_ns = call.started_ns
    given, made, read, written, reasoned = call.usage or _NO_USAGE
    return (
        f"[{call.time_ns // 1000},{text[call.account]},{text[call.key]},{text[call.route]},{text[call.method]},"
        f"{call.status if 100 <= call.status <= 999 else _NO_STATUS},"  # noqa: PLR2004 - three digits
        f"{text[call.error]},{_addresses[call.ip]},{_microseconds(call.ended_ns - started_ns)},"
        f"{_microseconds(first_byte_ns - started_ns) if first_byte_ns else 'null'},"
        f"{call.request_bytes},{call.response_bytes},{text[call.stream]},{call.messages},"
        f"{text[call.model]},{text[call.provider]},"
        f"{'null' if given is None else given},{'null' if made is None else made},"
        f"{'null' if read is None else read},{'null' if written is None else written},"
        f"{'null' if reasoned is None else reasoned},{text[call.usage_status]},"
        f"{text[call.outcome]},{text[call.limit]},{json.dumps(call.trace_id) if call.trace_id else 'null'}]\n"
    ).encode("ascii")


def _microseconds(ns: int) -> int:
    return min(max(ns // 1000, 0), _LONGEST_US)
