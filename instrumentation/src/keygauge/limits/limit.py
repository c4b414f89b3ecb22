"""Limits: a number of units per time window, per period, or at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from sys import intern
from typing import Any, Literal

from keygauge.call import OpenRoute
from keygauge.weights import Weights

Unit = Literal["request", "token", "input_token", "output_token", "nanousd", "weighted", "concurrent"]
TOKENS = frozenset({"token", "input_token", "output_token"})
MEASURED = TOKENS | {"nanousd", "weighted"}  # known only from the answer: estimated before, settled afterwards

Whose = Literal["account", "plan", "key", "tag", "untagged"]

_DIGITS = 32  # of a tag's digest


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` units in any `window_s` seconds, in each `period`, or at once.

    A limit with a `route`, `model` or `tool` counts only matching calls. `output_default` is the number of tokens
    reserved for a call that declares no cap. `whose`: it counts all keys of the account together, or each key
    separately as the `plan` says, or is the key's own. `when_unpriced` is for cost limits: whether to admit calls to
    models without a price. A weighted unit has `weights` and a name. A `per_tag` limit has a counter for each tag and
    one for calls without a tag.
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
    weights: Weights | None = None
    unit_name: str | None = None
    per_tag: bool = False
    tool: str | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Limit:
        """Parse a limit of the heartbeat's answer; strings are interned, as limits share them."""
        terms: dict[str, Any] = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        texts = ((name, text) for name, text in terms.items() if type(text) is str and name != "id")
        shared: dict[str, Any] = {name: intern(text) for name, text in texts}
        if terms.get("weights") is not None:
            shared["weights"] = Weights.from_json(terms["weights"])
        return cls(**terms | shared)

    @property
    def measure(self) -> object:
        """Return the measure of its units: the weights, or the unit's name."""
        return self.weights or self.unit

    @property
    def refusal(self) -> Literal["limited", "quota"]:
        """Return the outcome of calls that this limit refuses."""
        return "quota" if self.period else "limited"

    @property
    def refusal_code(self) -> str:
        """Return the problem code of calls that this limit refuses."""
        if self.period and self.unit == "nanousd":
            return "budget_exhausted"
        if self.unit == "concurrent":
            return "concurrency_limited"
        return "quota_exhausted" if self.period else "rate_limited"

    @property
    def resets(self) -> bool:
        """Return whether it ever resets."""
        return self.period != "lifetime"

    @property
    def is_plain(self) -> bool:
        """Return whether every call takes exactly one unit and nothing has to be settled."""
        return (
            self.unit == "request"
            and self.when_down == "closed"
            and not self.dry_run
            and self.route is None
            and self.model is None
            and self.tool is None
            and not self.per_tag
        )

    @property
    def needs_body(self) -> bool:
        """Return whether it counts by a call's body."""
        return self.unit in MEASURED or self.model is not None or self.tool is not None

    @property
    def counts_models(self) -> bool:
        """Return whether what a call counts depends on the models that it names."""
        return self.unit == "nanousd" or self.model is not None

    @property
    def is_scoped(self) -> bool:
        """Return whether it counts only some calls."""
        return self.route is not None or self.model is not None or self.tool is not None

    def of_tag(self, tag: str | None) -> Limit:
        """Return the limit of one tag's counter; its id has a digest, as tags may be personal data."""
        if tag is None:
            return replace(self, whose="untagged")
        return replace(self, id=f"{self.id}:{sha256(tag.encode()).hexdigest()[:_DIGITS]}", whose="tag")

    def covers(self, route: str | None, models: Collection[str] | None, tools: Collection[str] | None = ()) -> bool:
        """Return whether a call counts, by its route and all the models and tools that it names.

        None (an unknown route, or a body that was not read) matches any.
        """
        return (
            self.is_for(route)
            and (self.model is None or models is None or any(map(self._is_of, models)))
            and (self.tool is None or tools is None or any(is_meant(self.tool, tool) for tool in tools))
        )

    def _is_of(self, model: str) -> bool:
        """Return whether it counts calls of a model, which Gemini also accepts with `models/` before its name."""
        return is_meant(str(self.model), model) or is_meant(str(self.model), model.removeprefix("models/"))

    def is_for(self, route: str | None) -> bool:
        """Return whether calls to a route may count."""
        if route is None or self.route is None or is_meant(self.route, route):
            return True
        return isinstance(route, OpenRoute) and route.may_be(self.route)


def is_meant(pattern: str, name: str) -> bool:
    """Return whether a route, model or tool matches a limit's pattern; a pattern that ends in "*" matches prefixes."""
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
