"""Rules in text form for the provider that answers on a route, e.g. `/v1/chat/*=deepseek`."""

from __future__ import annotations

import re

_is_pattern = re.compile(r"/[^\s*\x00-\x1f\x7f]{0,199}\*?", re.ASCII).fullmatch
_is_provider = re.compile(r"[\w.-]{1,64}", re.ASCII).fullmatch


def parse_rule(text: str) -> tuple[str, str]:
    """Parse `PATH=PROVIDER`.

    Raises:
        ValueError: the text has another form.
    """
    pattern, _, provider = (part.strip() for part in text.rpartition("="))
    if not _is_pattern(pattern) or not _is_provider(provider):
        raise ValueError(f"{text!r}: use PATH=PROVIDER, e.g. /v1/chat/*=deepseek")
    return pattern, provider
