"""What a provider's document tells: counts as they stand there, not yet checked."""

from __future__ import annotations

from typing import Literal, NamedTuple

from keygauge.usage.counts import Usage

Stage = Literal[
    "opening",  # of a stream: the output is still to come, so these counts alone are never all
    "running",  # so far; all, if the stream then ends as it should
    "final",  # nothing more will come
]


class Found(NamedTuple):
    """Counts of one document; `usage` may hold whatever the JSON did."""

    usage: Usage
    provider: str | None
    model: str | None
    stage: Stage = "running"
    excludes_cache: bool = False  # input_tokens are those beside the cached ones
