"""The models of the demo API, with their speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provider = Literal["openai", "anthropic"]


@dataclass(frozen=True)
class Model:
    """One model. Times are in seconds at normal load; `reasoning_share` is hidden output per visible output."""

    id: str
    provider: Provider
    display_name: str
    first_token_s: float
    token_s: float
    reasoning_share: float = 0.0


MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model("gpt-4o-mini", "openai", "GPT-4o mini", 0.14, 0.004),
        Model("gpt-4.1", "openai", "GPT-4.1", 0.26, 0.007),
        Model("gpt-5.4-mini", "openai", "GPT-5.4 mini", 0.22, 0.005, reasoning_share=0.6),
        Model("claude-haiku-4-5", "anthropic", "Claude Haiku 4.5", 0.16, 0.004),
        Model("claude-sonnet-4-6", "anthropic", "Claude Sonnet 4.6", 0.30, 0.007),
    )
}
