"""What a request will use at most, told from its body: its model, its input, and the output it declares."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keygauge.limits.limit import Limit
from keygauge.pricing.rates import Rates, rates_of

BODY_BYTES_MAX = 1 << 20  # of a longer body nothing is read but its length
TOKENS_MAX = 10_000_000  # no model writes as many: who declares more has made a mistake
_ANSWERS_MAX = 1_000
_INPUT_MAX = 1_000_000
BYTES_PER_TOKEN = 4  # of English text; other scripts and images are settled by what was really used
_OUTPUT_DEFAULT = 1_024
_MODEL_LENGTH_MAX = 200
_UNITS_MAX = 2**53 - 1  # of a limit: see docs/reference/protocol.md

# How providers spell the cap of the output and the number of answers; Gemini's are inside `generationConfig`.
_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "max_tokens_to_sample")
_ANSWERS = ("n", "candidateCount", "candidate_count", "best_of")
_INSIDE = ("generationConfig", "generation_config", "options", "inferenceConfig", "textGenerationConfig")
_INSIDE_CAPS = (*_CAPS, "maxTokens", "maxTokenCount", "num_predict")
_in_path = re.compile(r"/models?/([^/:]+)").search


@dataclass(frozen=True, slots=True)
class Estimate:
    """A call before it happens. `output_tokens` are for all answers, None where no cap is declared.

    `named` are all models that path and body name: one of them cannot hide the other. A body that is `unread`, since it
    is long, compressed or no JSON, may name any.
    """

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int | None = None
    answers: int = 1
    named: tuple[str, ...] = ()
    unread: bool = False

    @property
    def models(self) -> tuple[str, ...] | None:
        """Return the models it may be for; None: any."""
        return None if self.unread else self.named

    def units(self, limit: Limit, prices: Sequence[Sequence[Rates]] = ()) -> int:
        """Return what the call takes of a limit; an output that is not declared never exceeds the limit by itself.

        `prices` are the rates of the models it names: of cost, the dearest counts, and a call without any takes one
        unit, so that a limit which is used up refuses it too.
        """
        if limit.unit not in ("token", "nanousd"):
            return 1
        output = self.output_tokens
        if output is not None:
            return self._measure(limit, prices, output)
        most = self._measure(limit, prices, (limit.output_default or _OUTPUT_DEFAULT) * self.answers)
        return min(most, max(limit.amount, self._measure(limit, prices, 0)))

    def _measure(self, limit: Limit, prices: Sequence[Sequence[Rates]], output_tokens: int) -> int:
        given = self.input_tokens
        if limit.unit == "token":
            return max(1, given + output_tokens)
        costs = [rates_of(tiers, given).most_nanousd(given, output_tokens) for tiers in prices]
        return min(max([1, *costs]), _UNITS_MAX)


class EstimateError(ValueError):
    """A cap or a number of answers that makes no sense; the message names the field."""


def estimate(body: bytes, *, length: int, path: str) -> Estimate:
    """Estimate a call; `length` is the body's, of which `body` may be just the beginning.

    Raises:
        EstimateError: a declared cap or number of answers is no whole number in bounds.
    """
    input_tokens = min(_INPUT_MAX, -(-length // BYTES_PER_TOKEN))
    document = _read(body) if length == len(body) <= BODY_BYTES_MAX else None
    found = _in_path(path)
    named = (found[1],) if found else ()
    if document is None:
        model = found[1] if found else None
        return Estimate(model=model, input_tokens=input_tokens, named=named, unread=length > 0)
    answers = max([1, *_numbers(document, _ANSWERS, _ANSWERS_MAX)])
    caps = _numbers(document, _CAPS, TOKENS_MAX)
    for name in _INSIDE:
        inside = document.get(name)
        if isinstance(inside, dict):
            caps += _numbers(inside, _INSIDE_CAPS, TOKENS_MAX, f"{name}.")
            answers = max([answers, *_numbers(inside, _ANSWERS, _ANSWERS_MAX, f"{name}.")])
    model = document.get("model")
    if isinstance(model, str):
        named = (model[:_MODEL_LENGTH_MAX], *named)
    return Estimate(
        model=named[0] if named else None,
        input_tokens=input_tokens,
        output_tokens=max(caps) * answers if caps else None,
        answers=answers,
        named=named,
    )


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body) if body else None
    except (ValueError, RecursionError):  # the host will say what is wrong with it
        return None
    return document if isinstance(document, dict) else None


def _numbers(document: dict[str, Any], names: tuple[str, ...], most: int, path: str = "") -> list[int]:
    numbers = []
    for name in names:
        value = document.get(name)
        if value is None or (name == "num_predict" and value in (-1, -2)):  # Ollama: no cap
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise EstimateError(f"{path}{name} is no whole number from 0 to {most}")
        numbers.append(value)
    return numbers
