"""SGLang's own `/generate`: `meta_info` of every chunk has the counts so far.

https://docs.sglang.ai/basic_usage/native_api.html
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.found import Found, RawUsage, inside


def read(document: dict[str, Any]) -> Found | None:
    """Read `meta_info`."""
    meta = inside(document, "meta_info")
    if "prompt_tokens" not in meta and "completion_tokens" not in meta:
        return None
    raw = RawUsage(meta.get("prompt_tokens"), meta.get("completion_tokens"), meta.get("cached_tokens"))
    name = meta.get("id")
    stage = "final" if meta.get("finish_reason") else "running"
    return Found(raw, None, None, stage, answer=name if isinstance(name, str) else None)  # type: ignore[arg-type]
