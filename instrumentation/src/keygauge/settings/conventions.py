"""The versions of OpenTelemetry's generative AI conventions that are exported in addition to `keygauge.*`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

GEN_AI: Final = "gen_ai"
LATEST: Final = "gen_ai_latest"
PROFILES: Final = frozenset({GEN_AI, LATEST})

_OPT_IN: Mapping[str, frozenset[str]] = {  # values of OTEL_SEMCONV_STABILITY_OPT_IN; it also names other conventions
    "gen_ai": frozenset({GEN_AI}),
    "gen_ai/dup": PROFILES,
    "gen_ai_latest_experimental": frozenset({LATEST}),
    "gen_ai_latest_experimental/dup": PROFILES,
}


class ProfileError(ValueError):
    """The environment names an unknown profile."""


@lru_cache(maxsize=1)
def chosen() -> frozenset[str]:
    """Return the profiles selected by the environment, which is read once; none by default.

    Raises:
        ProfileError: `KEYGAUGE_SEMCONV` names an unknown profile.
    """
    own = _words("KEYGAUGE_SEMCONV")
    if not own:
        return frozenset().union(*(_OPT_IN.get(word, frozenset()) for word in _words("OTEL_SEMCONV_STABILITY_OPT_IN")))
    if unknown := own - PROFILES - {"none"}:
        raise ProfileError(
            f"KEYGAUGE_SEMCONV has {min(unknown)!r}: use none, {GEN_AI}, {LATEST}, or both separated by a comma"
        )
    return own & PROFILES


def _words(variable: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, os.environ.get(variable, "").lower().split(","))))
