"""Text Generation Inference's own `/generate`: `details` of the only answer, or of a stream's last event.

https://huggingface.github.io/text-generation-inference
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.providers.found import Found, RawUsage, inside


def read(document: dict[str, Any]) -> Found | None:
    """Read `generated_tokens`; the input is told in streams, or by the `prefill` that a client asked for."""
    details = inside(document, "details")
    if "generated_tokens" not in details:
        return None
    given, prefill = details.get("input_length"), details.get("prefill")
    if given is None and isinstance(prefill, list) and prefill:
        given = len(prefill)
    return Found(RawUsage(given, details.get("generated_tokens")), None, None, "final")
