"""A limit: so many units in any window of time, in a calendar period, or at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from sys import intern
from typing import Any, Literal

Unit = Literal["request", "token", "input_token", "output_token", "nanousd", "concurrent"]
TOKENS = frozenset({"token", "input_token", "output_token"})
MEASURED = TOKENS | {"nanousd"}  # units that only the answer tells: estimated before, settled afterwards

Whose = Literal["account", "plan", "key"]


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` units in any `window_s` seconds, per calendar `period` (UTC), or at once.

    One with a `route` or a `model` counts only their calls. `output_default` are the tokens reserved for a call that
    declares no cap of its own. It counts all keys of the account together, or each by itself as the `plan` says, or is
    the key's own. `when_unpriced` is for limits of cost: whether to admit calls of models without a price.
    """

    id: str
    name: str
    unit: Unit
    amount: int
    window_s: int | None
    period: str | None
    when_down: str = "closed"
    dry_run: bool = False
    route: str | None = None
    model: str | None = None
    output_default: int | None = None
    when_unpriced: Literal["admit", "refuse"] = "admit"
    whose: Whose = "account"

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Limit:
        """Read a limit of the heartbeat's answer; texts that other keys' limits have too are kept once."""
        told: dict[str, Any] = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        shared = {name: intern(text) for name, text in told.items() if type(text) is str and name != "id"}
        return cls(**told | shared)

    @property
    def refusal(self) -> Literal["limited", "quota"]:
        """Name the outcome when this limit refuses."""
        return "quota" if self.period else "limited"

    @property
    def refusal_code(self) -> str:
        """Name the problem when this limit refuses."""
        if self.period and self.unit == "nanousd":
            return "budget_exhausted"
        if self.unit == "concurrent":
            return "concurrency_limited"
        return "quota_exhausted" if self.period else "rate_limited"

    @property
    def is_plain(self) -> bool:
        """Tell whether every call takes one unit of it, whatever the call is, and nothing has to be settled."""
        return (
            self.unit == "request"
            and self.when_down == "closed"
            and not self.dry_run
            and self.route is None
            and self.model is None
        )

    @property
    def needs_body(self) -> bool:
        """Tell whether it counts by what a call's body says."""
        return self.unit in MEASURED or self.model is not None

    @property
    def is_scoped(self) -> bool:
        """Tell whether it counts only some of the calls."""
        return self.route is not None or self.model is not None

    def covers(self, route: str | None, models: Collection[str] | None) -> bool:
        """Tell whether a call counts, by its route and all the models that it names.

        None: a route that could not be told, or a body that was not read, may be any.
        """
        return (route is None or self.route is None or _is_meant(self.route, route)) and (
            self.model is None or models is None or any(_is_meant(self.model, model) for model in models)
        )


def _is_meant(pattern: str, name: str) -> bool:
    """Tell whether a route or a model is the one of a limit, or begins as one that ends in "*"."""
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
