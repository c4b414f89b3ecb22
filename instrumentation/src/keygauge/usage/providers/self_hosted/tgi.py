"""Text Generation Inference's own `/generate`: counts in `details` of the single answer, or of a stream's last event.

https://huggingface.github.io/text-generation-inference
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.found import Found, RawUsage, inside


def read(document: dict[str, Any]) -> Found | None:
    """Read `generated_tokens`; the input is reported in streams, or as `prefill` if the client requested it."""
    details = inside(document, "details")
    if "generated_tokens" not in details:
        return None
    given, prefill = details.get("input_length"), details.get("prefill")
    if given is None and isinstance(prefill, list) and prefill:
        given = len(prefill)
    return Found(RawUsage(given, details.get("generated_tokens")), None, None, "final")
