"""The demo's plans, accounts, members and keys, and how each key behaves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

Rhythm = Literal["office", "evening", "night", "round_the_clock"]


@dataclass(frozen=True)
class Plan:
    """A plan's limits: requests in any minute, requests and optionally credits in a UTC month."""

    id: str
    name: str
    requests_per_minute: int
    requests_per_month: int
    credits_per_month: int | None = None


@dataclass(frozen=True)
class Key:
    """A key and its behaviour: calls per day at the end of the history, live calls per minute, shares of models."""

    name: str
    models: dict[str, float] = field(default_factory=dict)
    calls_per_day: float = 0.0
    live_per_minute: float = 0.0
    rhythm: Rhythm = "office"
    streamed: float = 0.5  # share of calls
    prompt_tokens: int = 200  # the median
    growth: float = 0.5  # share of today's use that was added in the last 90 days
    refused: float = 0.005  # share of calls that are malformed
    forbidden: float = 0.0  # share of calls that the key is not permitted to make
    spike_days_ago: int | None = None
    environment: Literal["live", "test"] = "live"
    is_enabled: bool = True
    end_users: int = 0  # number of end users of the key's app

    def draw_end_user(self, chance: random.Random) -> str | None:
        """Draw a call's end user, as its tag; some make more calls than others."""
        return f"user_{int(self.end_users * chance.random() ** 2) + 1:03}" if self.end_users else None


@dataclass(frozen=True)
class Account:
    """A customer: one member who can sign in, and keys."""

    name: str
    plan: str
    email: str
    keys: tuple[Key, ...]


CREDIT_NANOUSD = 10_000_000  # a cent
VISITOR_KEY = "Your own key"  # for the curl line; live traffic never uses it

PLANS = (
    Plan("free", "Free", 1, 50),
    Plan("starter", "Starter", 20, 5_000),
    Plan("pro", "Pro", 120, 20_000, credits_per_month=5_000),
    Plan("vip", "VIP", 600, 1_000_000),
)

ACCOUNTS = (
    Account(
        "Northwind Analytics",
        "vip",
        "olivia@northwind.example",
        (
            Key(
                "Production gateway",
                {"gpt-4o-mini": 5, "claude-sonnet-4-6": 3, "gpt-4.1": 2},
                calls_per_day=520,
                live_per_minute=190,
                rhythm="round_the_clock",
                streamed=0.7,
                prompt_tokens=420,
                spike_days_ago=16,
            ),
            Key(
                "Nightly reports",
                {"claude-haiku-4-5": 3, "gpt-5.4-mini": 1},
                calls_per_day=170,
                live_per_minute=60,
                rhythm="night",
                streamed=0.0,
                prompt_tokens=1800,
                growth=0.2,
            ),
            Key("Staging", {"gpt-4o-mini": 1}, calls_per_day=40, live_per_minute=20, refused=0.06, environment="test"),
            Key(VISITOR_KEY),
        ),
    ),
    Account(
        "Brightloom Studio",
        "pro",
        "noah@brightloom.example",
        (
            Key(
                "Web app",
                {"claude-sonnet-4-6": 4, "claude-haiku-4-5": 2},
                calls_per_day=260,
                live_per_minute=30,
                rhythm="evening",
                streamed=0.9,
                growth=0.8,
                end_users=40,
            ),
            Key(
                "Mobile app",
                {"gpt-4o-mini": 1},
                calls_per_day=110,
                live_per_minute=12,
                rhythm="evening",
                growth=0.9,
                end_users=25,
            ),
            Key(
                "Old CI pipeline",
                {"gpt-4.1": 1},
                calls_per_day=22,
                streamed=0.0,
                growth=0.0,
                refused=0.35,
                forbidden=0.45,
                is_enabled=False,
            ),
        ),
    ),
    Account(
        "Larkspur Labs",
        "starter",
        "mia@larkspur.example",
        (
            Key("Research notebook", {"gpt-5.4-mini": 2, "gpt-4.1": 1}, calls_per_day=60, live_per_minute=45),
            Key("Slack bot", {"gpt-4o-mini": 1}, calls_per_day=25, live_per_minute=6, streamed=0.0),
        ),
    ),
    Account(
        "Ada Fields",
        "free",
        "ada@fields.example",
        (Key("Weekend project", {"claude-haiku-4-5": 1}, calls_per_day=2, live_per_minute=30, rhythm="evening"),),
    ),
)
