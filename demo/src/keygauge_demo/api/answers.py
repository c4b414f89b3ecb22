"""Short realistic answers, generated from the request only: the same request always gets the same answer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from keygauge_demo.api.catalog import Model

CHARACTERS_PER_TOKEN = 4
MESSAGE_OVERHEAD_TOKENS = 4
CACHE_FLOOR_TOKENS = 1024  # providers cache no prompt shorter than this
CACHE_STEP_TOKENS = 128
FAILURES_PER_1000 = 12
FIRST_TOKEN_SIGMA = 0.25  # sigma of the log-normal distribution
TOKEN_SIGMA = 0.15

_OPENINGS = (
    "Here is the short version.",
    "Yes, that works, with one condition.",
    "The usual way is simpler than it looks.",
    "There are two parts to this.",
    "I would start with the smallest case.",
)
_SENTENCES = (
    "Keep the reading and the writing apart, and each can be tested without the other.",
    "Measure first, because the slow part is rarely where it feels slow.",
    "The second request finds everything warm, so it takes about a third of the time.",
    "Store the raw counts and derive the totals, then a wrong price can be put right later.",
    "A queue in front of it turns a crash into a short delay.",
    "If the input is empty, say so early and stop.",
    "Two replicas behind one address are enough for this load.",
    "Customers mostly ask about the invoice, the limit and the export, in that order.",
    "Set a deadline on every call, or one slow neighbour holds up all the others.",
    "The report covers the last ninety days and leaves out the test accounts.",
    "Write the rule down where the people who change it will see it.",
    "It is cheaper to refuse a call at the door than to undo it afterwards.",
)


@dataclass(frozen=True)
class Answer:
    """A model's answer with its tokens and times. `pieces` are one token each; times are in seconds."""

    id: str
    pieces: tuple[str, ...]
    cut: bool  # ended by the caller's cap
    input_tokens: int  # cached ones included
    cached_tokens: int
    reasoning_tokens: int
    first_token_s: float
    token_s: float
    fails: bool

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """Tokens written, hidden reasoning included."""
        return len(self.pieces) + self.reasoning_tokens


def compose(model: Model, texts: Sequence[str], *, cap_tokens: int | None) -> Answer:
    """Compose the model's answer to the conversation's texts."""
    digest = hashlib.sha256("\n".join((model.id, *texts)).encode()).digest()
    chance = random.Random(digest)  # noqa: S311 - realistic, not secret
    pieces = _draw_pieces(chance)
    cut = cap_tokens is not None and len(pieces) > cap_tokens
    if cut:
        pieces = pieces[:cap_tokens]
    input_tokens = count_tokens(texts)
    return Answer(
        id=digest[:12].hex(),
        pieces=pieces,
        cut=cut,
        input_tokens=input_tokens,
        cached_tokens=_cached(input_tokens),
        reasoning_tokens=round(len(pieces) * model.reasoning_share),
        first_token_s=model.first_token_s * chance.lognormvariate(0, FIRST_TOKEN_SIGMA),
        token_s=model.token_s * chance.lognormvariate(0, TOKEN_SIGMA),
        fails=chance.randrange(1000) < FAILURES_PER_1000,
    )


def count_tokens(texts: Sequence[str]) -> int:
    """Estimate a conversation's tokens, close to providers' tokenizers for English text."""
    return sum(MESSAGE_OVERHEAD_TOKENS + -(-len(text) // CHARACTERS_PER_TOKEN) for text in texts)


def _draw_pieces(chance: random.Random) -> tuple[str, ...]:
    sentences = (chance.choice(_OPENINGS), *chance.sample(_SENTENCES, chance.randint(1, 5)))
    words = " ".join(sentences).split(" ")
    return (*(f"{word} " for word in words[:-1]), words[-1])


def _cached(input_tokens: int) -> int:
    if input_tokens < CACHE_FLOOR_TOKENS:
        return 0
    return (input_tokens * 3 // 4) // CACHE_STEP_TOKENS * CACHE_STEP_TOKENS
