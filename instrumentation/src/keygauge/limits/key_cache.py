"""The keys this process knows, as the key service told them; no secret, only digests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from sys import intern
from typing import Any
from weakref import WeakValueDictionary

from keygauge.clock import SECOND
from keygauge.limits.concurrency import ConcurrencyPool
from keygauge.limits.estimate import Estimate
from keygauge.limits.headers import Policy
from keygauge.limits.key_policy import KeyPolicy
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.pricing.rates import Rates
from keygauge.provider_rule import parse_rule
from keygauge.usage.provider_rules import ProviderRules

_MOST_KEYS = 100_000
_MOST_UNKNOWN = 10_000
_UNKNOWN_NS = 5 * SECOND  # how long a key that does not exist is remembered as such


@dataclass(slots=True, eq=False, weakref_slot=True)
class Plan:
    """A plan as the keys that have it know it, and what it was changed to since."""

    id: str
    limits: Sequence[dict[str, Any]] = ()  # of a changed one; else only the keys' entries tell them
    providers: ProviderRules | None = None  # as above
    newer: Plan | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One key's entry: who it belongs to, whether it may be used, and its limits."""

    id: str
    account: str
    plan: Plan
    providers: ProviderRules | None  # the plan's
    tariff: str | None  # the account, where it has prices of its own
    status: str  # active, disabled, deleted, suspended
    expires_ns: int | None  # wall clock
    secrets: dict[int, int | None]  # number -> expiry, wall clock ns
    lease_pools: tuple[LeasePool, ...]
    policy: Policy
    key_policy: KeyPolicy
    scopes: tuple[str, ...]  # what the key may do, for the app to ask about
    is_open: bool  # active for good, and from any address
    is_restricted: bool  # to some endpoints or models
    is_plain: bool  # each call takes one unit of each limit
    needs_route: bool
    needs_body: bool  # to tell the model or the tokens
    needs_model: bool  # to be told, or the call is refused
    is_capped: bool  # by tokens, cost or model, and refused beyond
    needs_price: bool

    def claims(
        self, route: str | None, estimate: Estimate, prices: Sequence[Sequence[Rates]] = ()
    ) -> list[tuple[LeasePool, int]]:
        """Return what a call takes of which limits; `prices` are the rates of the models it names."""
        return [
            (lease_pool, estimate.units(lease_pool.limit, prices))
            for lease_pool in self.lease_pools
            if lease_pool.limit.covers(route, estimate.models)
        ]

    def refuses_unpriced(self, route: str | None, estimate: Estimate) -> str | None:
        """Return the name of a limit that admits no calls of models without a price."""
        for lease_pool in self.lease_pools:
            limit = lease_pool.limit
            if limit.when_unpriced == "refuse" and not limit.dry_run and limit.covers(route, estimate.models):
                return limit.name
        return None


class KeyCache:
    """Keys by id and credentials by digest, both bounded. Guarded by the lock of `Admission`."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.credentials: dict[bytes, tuple[str, int]] = {}  # digest -> key id, secret number
        self.lease_pools: WeakValueDictionary[str, LeasePool] = WeakValueDictionary()
        self.lowered: set[LeasePool] = set()  # of limits that were lowered: what is held of them goes back
        self._plans: WeakValueDictionary[str, Plan] = WeakValueDictionary()  # those of the keys
        self._unknown: dict[bytes, int] = {}  # digest -> until when
        self._expired: dict[bytes, tuple[Key, int]] = {}  # digest -> key, secret number
        self._expired_until_ns = 0

    def is_unknown(self, digest: bytes, now_ns: int) -> bool:
        """Tell whether the key service said a moment ago that there is no such key."""
        return self._unknown.get(digest, 0) > now_ns

    def mark_unknown(self, digest: bytes, now_ns: int) -> None:
        """Remember that there is no such key; the oldest memory goes when there are too many."""
        self._expired.pop(digest, None)
        if len(self._unknown) >= _MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[digest] = now_ns + _UNKNOWN_NS

    def learn(self, digest: bytes, key_id: str, secret: int) -> None:
        """Remember whose secret a digest is; the oldest memory goes when there are too many."""
        self._unknown.pop(digest, None)
        self._expired.pop(digest, None)
        if len(self.credentials) >= _MOST_KEYS:
            del self.credentials[next(iter(self.credentials))]
        self.credentials[digest] = (key_id, secret)

    def expire(self, until_ns: int) -> None:
        """Have every key looked up again: what changed meanwhile cannot be told any more.

        Until then, and no longer than `until_ns`, what is known of them holds: nobody waits, and look-ups come in turn.
        """
        self._expired = {
            digest: (self.keys[key_id], secret)
            for digest, (key_id, secret) in self.credentials.items()
            if key_id in self.keys
        }
        self._expired_until_ns = until_ns
        self.keys.clear()
        self.credentials.clear()

    def recall(self, digest: bytes, now_ns: int) -> tuple[Key, int] | None:
        """Return a key that is to be looked up again, and the number of its secret."""
        if not self._expired:
            return None
        if now_ns >= self._expired_until_ns:
            self._expired = {}
        return self._expired.get(digest)

    def put(self, entries: Iterable[dict[str, Any]], *, wanted: frozenset[str]) -> None:
        """Take in key entries of a heartbeat's answer: those `wanted` and those known; others do not concern us."""
        for entry in entries:
            if entry["id"] in wanted or entry["id"] in self.keys:
                if len(self.keys) >= _MOST_KEYS and entry["id"] not in self.keys:
                    del self.keys[next(iter(self.keys))]
                self.keys[entry["id"]] = self._key(entry)

    def change_plan(self, entry: dict[str, Any], held: Iterable[LeasePool]) -> None:
        """Take in a changed plan. Its keys adapt when they are used, the limits of which units are `held` at once."""
        old = self._plans.get(entry["id"])
        if old is None:
            return
        limits = entry["limits"]
        self._plans[old.id] = old.newer = Plan(old.id, limits, _provider_rules(entry["providers"]))
        changed = {limit["id"]: limit for limit in limits}
        for lease_pool in held:
            number, _, owner = lease_pool.limit.id.partition(":")
            if number in changed:
                self._lease_pool(_limit_of(changed[number], owner))

    def adapt(self, key: Key) -> Key:
        """Return a key whose plan changed with the plan's limits as they are now; its own stay."""
        key = self.keys.get(key.id, key)
        plan = key.plan
        while plan.newer is not None:
            plan = plan.newer
        if plan is key.plan:
            return key
        shared = [
            self._lease_pool(_limit_of(limit, key.account if limit["whose"] == "account" else key.id))
            for limit in plan.limits
        ]
        own = [lease_pool for lease_pool in key.lease_pools if lease_pool.limit.whose == "key"]
        adapted = replace(key, plan=plan, providers=plan.providers, **_limited((*shared, *own), key.key_policy))
        if key.id in self.keys:
            self.keys[key.id] = adapted
        return adapted

    def _key(self, entry: dict[str, Any]) -> Key:
        lease_pools = tuple(self._lease_pool(Limit.from_json(limit)) for limit in entry["limits"])
        expiries = [entry["expires_at"], *(secret["expires_at"] for secret in entry["secrets"])]
        key_policy = KeyPolicy.from_json(entry)
        return Key(
            id=entry["id"],
            account=entry["account"],
            plan=self._plan(entry["plan"]),
            providers=_provider_rules(entry.get("providers")),
            tariff=entry.get("tariff"),
            status=entry["status"],
            expires_ns=_wall_ns(entry["expires_at"]),
            secrets={secret["number"]: _wall_ns(secret["expires_at"]) for secret in entry["secrets"]},
            key_policy=key_policy,
            scopes=tuple(entry.get("scopes", ())),
            is_open=entry["status"] == "active" and key_policy.networks is None and set(expiries) <= {None},
            is_restricted=key_policy.routes is not None or key_policy.models is not None,
            needs_model=key_policy.models is not None,
            **_limited(lease_pools, key_policy),
        )

    def _plan(self, plan_id: str) -> Plan:
        plan = self._plans.get(plan_id)
        if plan is None:
            plan = self._plans[plan_id] = Plan(intern(plan_id))
        return plan

    def _lease_pool(self, limit: Limit) -> LeasePool:
        """Keep the leases of a limit that is known; a changed limit is asked about afresh."""
        lease_pool = self.lease_pools.get(limit.id)
        if lease_pool is None:
            make = ConcurrencyPool if limit.unit == "concurrent" else LeasePool
            lease_pool = self.lease_pools[limit.id] = make(limit)
        elif lease_pool.limit != limit:
            if limit.amount < lease_pool.limit.amount:
                self.lowered.add(lease_pool)
            lease_pool.limit = limit
            lease_pool.denied_until_ns = 0
        return lease_pool


def _limited(lease_pools: tuple[LeasePool, ...], key_policy: KeyPolicy) -> dict[str, Any]:
    """Return what a key's limits make of it."""
    limits = [lease_pool.limit for lease_pool in lease_pools]
    return {
        "lease_pools": lease_pools,
        "policy": Policy([lease_pool for lease_pool in lease_pools if not lease_pool.limit.dry_run]),
        "is_plain": all(limit.is_plain for limit in limits),
        "is_capped": any(limit.needs_body and not limit.dry_run for limit in limits),
        "needs_route": any(limit.route is not None for limit in limits),
        "needs_price": any(limit.unit == "nanousd" for limit in limits),
        "needs_body": key_policy.models is not None or any(limit.needs_body for limit in limits),
    }


def _limit_of(terms: dict[str, Any], owner: str) -> Limit:
    return Limit.from_json(terms | {"id": f"{terms['id']}:{owner}"})


def _provider_rules(texts: Sequence[str] | None) -> ProviderRules | None:
    return ProviderRules(map(parse_rule, texts)) if texts else None


def _wall_ns(unix_s: float | None) -> int | None:
    return None if unix_s is None else int(unix_s * SECOND)
