"""Durations as people write them: 90s, 5m, 1h, 7d."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_is_duration = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII).fullmatch


def parse_duration(text: str) -> int | None:
    """Parse a duration into seconds; return None if it is not valid."""
    found = _is_duration(text.strip())
    return int(found[1]) * _SECONDS[found[2]] if found else None


def write_duration(seconds: int) -> str:
    """Format seconds in the largest unit that divides them."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
