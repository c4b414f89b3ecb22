"""Replicate: a prediction's `metrics` have the tokens of a language model, the images of others, else the run time.

A prediction is made in the background unless its request waits for it; each read shows the metrics again. A failed one
is billed for its run time.

https://replicate.com/docs/topics/predictions
"""

from __future__ import annotations

from typing import Any, Final

from keygauge.usage.found import Found, RawUsage, first, inside, rounded_up
from keygauge.usage.model_name import name_of

PROVIDER: Final = "replicate"
PREFIXES: Final = ("replicate",)
_TIME: Final = "predict_time"
_GIVEN: Final = ("input_token_count", "token_input_count")
_MADE: Final = ("output_token_count", "token_output_count")
_IMAGES: Final = ("image_output_count", "image_count")


def read(document: dict[str, Any]) -> Found | None:
    """Read the `metrics` of a prediction that has ended."""
    metrics = inside(document, "metrics")
    given, made, images = (first(metrics, *names) for names in (_GIVEN, _MADE, _IMAGES))
    seconds = rounded_up(metrics.get(_TIME)) if given is None and made is None and images is None else None
    details = {kind: count for kind, count in (("images", images), ("seconds", seconds)) if count is not None}
    if given is None and made is None and not details:
        return None
    name = document.get("id")
    return Found(
        RawUsage(given, made, details=details),
        PROVIDER,
        name_of(document.get("model")),
        "final",
        answer=name if isinstance(name, str) else None,
    )
