"""Limit definitions in the database: those of plans, and the tighter ones of single keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from msgspec import to_builtins
from psycopg.types.json import Jsonb

from keygauge.weights import Weights
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import smooth_rates
from keygauge_keyservice.limits.periods import Period, Periods

Subject = Literal["account", "key"]
CountedUnit = Literal["request", "token", "input_token", "output_token", "nanousd", "weighted"]  # counted over time
Unit = Literal[CountedUnit, "concurrent"]
WhenDown = Literal["closed", "safe"]
WhenUnpriced = Literal["admit", "refuse"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A number of units per time window, per period, or at once; per account or per key.

    A cost limit may be given in credits, worth `credit_nanousd` each; it is still counted in nano-USD.
    """

    name: str
    unit: Unit
    amount: int
    window_s: int | None = None
    period: Period | None = None
    anchor: date | None = None  # a day on which a period begins
    zone: str | None = None  # IANA time zone with whose days periods begin; None: UTC
    subject: Subject = "account"
    when_down: WhenDown = "closed"
    dry_run: bool = False
    smooth: bool = False  # a rate limit with a steady pace
    per_tag: bool = False  # has a counter per tag of calls
    route: str | None = None  # counts only calls to this route template
    model: str | None = None  # … of this model
    tool: str | None = None  # … of this tool by JSON-RPC
    output_default: int | None = None  # tokens reserved for a call that declares no cap
    when_unpriced: WhenUnpriced = "admit"  # for cost limits: calls of models without a price
    credit_nanousd: int | None = None
    weights: Weights | None = None  # of a weighted unit
    unit_name: str | None = None  # … its name for people
    by_operator: bool = False  # for a key's own limits: only operators may change it
    id: int | None = None  # given by the database

    @property
    def measure(self) -> tuple[object, ...]:
        """Return what makes usage comparable: a limit keeps its usage as long as this stays the same."""
        scope = self.subject, self.per_tag, self.route, self.model, self.tool
        return *scope, self.unit, self.weights, self.window_s, self._when, self.smooth

    @property
    def bucket_s(self) -> int | None:
        """Return the window of a smooth rate limit, which has a bucket; None for others."""
        return self.window_s if self.smooth else None

    @property
    def _when(self) -> tuple[object, ...]:
        if self.period is None:
            return ()
        return self.period, self.zone, *Periods(self.period, self.anchor, self.zone).phase


@dataclass(frozen=True)
class Owner:
    """The owner of limits: a plan or a key."""

    plan_id: str | None = None
    key_id: str | None = None


_COLUMNS = (
    *("name", "subject", "unit", "amount", "window_s", "period", "anchor", "zone", "when_down", "dry_run", "smooth"),
    *("per_tag", "route", "model", "tool", "output_default", "when_unpriced", "credit_nanousd", "weights", "unit_name"),
    "by_operator",
)
_READ = f"id, {', '.join(_COLUMNS)}"


def of_plans(connection: Connection, plan_ids: Iterable[str]) -> dict[str, list[Limit]]:
    """Return the limits of some plans, in order of creation."""
    rows = connection.execute(
        f"/* plan_limits.of_plans */ SELECT plan_id AS owner, {_READ} FROM plan_limit "  # noqa: S608 - columns
        "WHERE plan_id = ANY(%s) ORDER BY id",
        (list(plan_ids),),
    )
    return _by_owner(rows)


def of_keys(connection: Connection, key_ids: Iterable[str]) -> dict[str, list[Limit]]:
    """Return the own limits of some keys, in order of creation."""
    rows = connection.execute(
        f"/* plan_limits.of_keys */ SELECT key_id AS owner, {_READ} FROM plan_limit "  # noqa: S608 - columns
        "WHERE key_id = ANY(%s) ORDER BY id",
        (list(key_ids),),
    )
    return _by_owner(rows)


def insert(connection: Connection, owner: Owner, limits: Sequence[Limit]) -> None:
    """Add limits."""
    columns = ("plan_id", "key_id", *_COLUMNS)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"/* plan_limits.insert */ INSERT INTO plan_limit ({', '.join(columns)}) "  # noqa: S608 - columns
            f"VALUES ({', '.join(f'%({column})s' for column in columns)})",
            [_row(limit) | asdict(owner) for limit in limits],
        )


def replace(connection: Connection, owner: Owner, old: Sequence[Limit], limits: Sequence[Limit]) -> None:
    """Replace limits by others; those that keep their measure keep their usage, even if renamed."""
    kept = _kept(old, limits)
    _delete_except(connection, owner, [before.name for before, _ in kept])
    renamed = [before.id for before, after in kept if before.name != after.name]
    if renamed:  # set aside first: limits may exchange names
        connection.execute(
            "/* plan_limits.set_aside */ UPDATE plan_limit SET name = name || ' ' || id WHERE id = ANY(%s)", (renamed,)
        )
    for before, after in kept:
        connection.execute(
            "/* plan_limits.update */ UPDATE plan_limit SET name = %(name)s, amount = %(amount)s, "
            "anchor = %(anchor)s, when_down = %(when_down)s, dry_run = %(dry_run)s, "
            "output_default = %(output_default)s, when_unpriced = %(when_unpriced)s, "
            "credit_nanousd = %(credit_nanousd)s, by_operator = %(by_operator)s, "
            "unit_name = %(unit_name)s WHERE id = %(id)s",
            _row(after) | {"id": before.id},
        )
        smooth_rates.change(connection, before.id, before.bucket_s, before.amount, after.amount)
    new = {id(after) for _, after in kept}
    insert(connection, owner, [limit for limit in limits if id(limit) not in new])


def _kept(old: Sequence[Limit], limits: Sequence[Limit]) -> list[tuple[Limit, Limit]]:
    """Pair limits with the old ones they replace: of the same name and measure, or else of the same measure."""
    free = {limit.name: limit for limit in old}
    kept = [
        (free.pop(limit.name), limit)
        for limit in limits
        if limit.name in free and free[limit.name].measure == limit.measure
    ]
    named = {id(limit) for _, limit in kept}
    for limit in limits:
        before = next((one for one in free.values() if one.measure == limit.measure), None)
        if id(limit) not in named and before is not None:
            kept.append((free.pop(before.name), limit))
    return kept


def terms(limit: Limit) -> dict[str, Any]:
    """Return a limit as recorded in the audit log."""
    return {
        name: to_builtins(value)
        for name, value in asdict(limit).items()
        if name not in {"id", "by_operator"} and value is not None
    }


def from_terms(terms: Mapping[str, Any]) -> Limit:
    """Parse a limit of the audit log.

    Raises:
        TypeError: the entry was written by another version.
    """
    kept = dict(terms)
    if "anchor" in kept:
        kept["anchor"] = date.fromisoformat(kept["anchor"])
    if "weights" in kept:
        kept["weights"] = Weights.from_json(kept["weights"])
    return Limit(**kept)


def _by_owner(rows: Iterable[dict[str, Any]]) -> dict[str, list[Limit]]:
    limits: dict[str, list[Limit]] = {}
    for row in rows:
        owner, weights = row.pop("owner"), row.pop("weights")
        limit = Limit(**row, weights=None if weights is None else Weights.from_json(weights))
        limits.setdefault(owner, []).append(limit)
    return limits


def _row(limit: Limit) -> dict[str, Any]:
    return asdict(limit) | {"weights": None if limit.weights is None else Jsonb(to_builtins(limit.weights))}


def _delete_except(connection: Connection, owner: Owner, names: list[str]) -> None:
    """Delete limits with their counters; lock rows in the same order as heartbeats."""
    connection.execute(
        "/* plan_limits.delete */ WITH gone AS ("
        "DELETE FROM plan_limit WHERE (plan_id = %(plan_id)s OR key_id = %(key_id)s) "
        "AND name <> ALL(%(names)s) RETURNING id::text), "
        "locked AS (SELECT limit_state.id FROM limit_state JOIN gone ON gone.id = split_part(limit_state.id, ':', 1) "
        "ORDER BY limit_state.id FOR UPDATE OF limit_state) "
        "DELETE FROM limit_state WHERE id IN (SELECT id FROM locked)",
        asdict(owner) | {"names": names},
    )
