"""IBM watsonx.ai: counts in each of the `results`; embeddings and reranking have theirs next to them.

A stream has the counts so far in each event, those of the input in the first one only. Chats have OpenAI's shape.

https://cloud.ibm.com/apidocs/watsonx-ai#text-generation
"""

from __future__ import annotations

from typing import Any, Final

from keygauge.usage.found import Found, RawUsage, total
from keygauge.usage.model_name import name_of

PROVIDER: Final = "ibm.watsonx.ai"
PREFIXES: Final = ("watsonx",)
MODEL: Final = "model_id"
_GIVEN: Final = "input_token_count"
_MADE: Final = "generated_token_count"
_RUNNING: Final = "not_finished"


def read(document: dict[str, Any]) -> Found | None:
    """Read the counts of an answer that names its `model_id`."""
    if MODEL not in document:
        return None
    results = document.get("results")
    results = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    given, made = ([one[name] for one in results if name in one] for name in (_GIVEN, _MADE))
    if _GIVEN not in document and not given and not made:
        return None
    reasons = [str(one.get("stop_reason")).lower() for one in results]
    return Found(
        RawUsage(total(given) if given else document.get(_GIVEN), total(made) if made else None),
        PROVIDER,
        name_of(document.get(MODEL)),
        "running" if _RUNNING in reasons else "final",
    )
