"""Titles of the kinds of use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keygauge.kinds import PART_OF
from keygauge_keyservice.texts import gettext, mark

_COMMON: Final = {
    "input": mark("Input tokens"),
    "output": mark("Output tokens"),
    "cache_read": mark("Cached input tokens"),
    "reasoning": mark("Reasoning tokens"),
    "cache_write": mark("Cache writes"),
    "request": mark("Requests"),
}
TITLES: Final = {
    "input_audio": mark("Audio input tokens"),
    "input_image": mark("Image input tokens"),
    "input_video": mark("Video input tokens"),
    "cache_read_audio": mark("Cached audio tokens"),
    "cache_read_image": mark("Cached image tokens"),
    "cache_write_1h": mark("Cache writes, one hour"),
    "output_audio": mark("Audio output tokens"),
    "output_image": mark("Image output tokens"),
    "output_video": mark("Video output tokens"),
    "web_searches": mark("Web searches"),
    "file_searches": mark("File searches"),
    "tool_calls": mark("Other tool calls"),
    "search_units": mark("Search units"),
    "classifications": mark("Classifications"),
    "citations": mark("Citation tokens"),
    "images": mark("Images"),
    "seconds": mark("Seconds of audio or video"),
    "characters": mark("Characters"),
    "pages": mark("Pages"),
}


def is_token(kind: str) -> bool:
    """Return whether a kind is measured in tokens, as input, output or a part of them."""
    return kind != "request" and (kind in _COMMON or PART_OF.get(kind) is not None)


def title(kind: str) -> str:
    """Return the title of a kind; for an unknown kind, from a newer replica, the kind itself."""
    known = _COMMON.get(kind) or TITLES.get(kind)
    return gettext(known) if known else kind


def titled(details: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Return (kind, title, count) in the order of `TITLES`; unknown kinds come last, with their name as title."""
    known = [(kind, gettext(title), details[kind]) for kind, title in TITLES.items() if kind in details]
    return known + [(kind, kind, count) for kind, count in details.items() if kind not in TITLES]
