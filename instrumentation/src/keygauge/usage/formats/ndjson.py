"""JSON documents, one per line: the streams of Ollama and Cohere v1."""

from __future__ import annotations

import re

from keygauge.usage.document import TOKEN, may_be_cohere_v1, may_be_error, may_be_ollama, may_have_usage, parse
from keygauge.usage.formats.stream import Framing, StreamReader


def _keep_line(line: bytearray) -> bytearray:
    return line  # a \r before the \n is whitespace in JSON


def _no_parts(_: bytearray) -> list[bytearray]:
    return []


def _matters(line: bytes | bytearray) -> bool:
    return (
        line.rfind(TOKEN) >= 0
        or may_be_ollama(line)
        or may_have_usage(line)
        or may_be_cohere_v1(line)
        or may_be_error(line)
    )


def _count_plain(lines: bytes) -> int:
    return -1 if _matters(lines) else lines.count(b"\n")


def _has_data(line: bytearray) -> bool:
    return bool(line.strip())


def _never(_: bytearray) -> bool:
    return False  # an error is recognized by its document


_LINES = Framing(
    boundary=re.compile(rb"\n"),
    ends=(b"\n",),
    overlap_bytes=1,
    unframe=_keep_line,
    parts=_no_parts,
    matters=_matters,
    count_plain=_count_plain,
    has_data=_has_data,
    is_empty=_never,
    is_error=_never,
)


def begins_as_lines(text: bytes | bytearray) -> bool:
    """Return whether the first line of a text is a complete JSON object."""
    end = text.find(b"\n")
    return end > 0 and isinstance(parse(text[:end]), dict)


def read_lines() -> StreamReader:
    """Return a reader for `application/x-ndjson`."""
    return StreamReader(_LINES)
