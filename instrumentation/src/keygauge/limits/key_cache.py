"""The keys that this process knows from the key service; it stores digests, not secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from sys import intern
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from keygauge.clock import SECOND
from keygauge.limits.concurrency import lease_pool_of
from keygauge.limits.headers import Policy
from keygauge.limits.key_policy import KeyPolicy
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.reading.estimate import Estimate
from keygauge.limits.refusal import UNKNOWN, Refusal
from keygauge.limits.tag_pools import KnownTags, TagPools
from keygauge.settings.provider_rule import parse_rule
from keygauge.usage.provider_rules import ProviderRules

_Pools = TypeVar("_Pools", LeasePool, TagPools)

_MOST_KEYS = 100_000
_MOST_UNKNOWN = 10_000
_UNKNOWN_NS = 5 * SECOND  # how long to remember that a key does not exist


@dataclass(slots=True, eq=False, weakref_slot=True)
class Plan:
    """A plan as known to its keys; `newer` is what it was changed to since."""

    id: str
    limits: Sequence[dict[str, Any]] = ()  # of a changed plan; otherwise only the keys' entries have them
    providers: ProviderRules | None = None  # as above
    newer: Plan | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One key's entry: its owner, whether it may be used, and its limits."""

    id: str
    account: str
    plan: Plan
    providers: ProviderRules | None  # the plan's
    tariff: str | None  # the account, if it has custom prices
    status: str  # active, disabled, deleted, suspended
    expires_ns: int | None  # wall clock
    secrets: Mapping[int, int | None]  # number -> expiry, wall clock ns
    lease_pools: tuple[LeasePool, ...]
    tag_pools: tuple[TagPools, ...]  # of limits with a counter per tag
    policy: Policy
    tag_policy: Policy  # with these; `Policy.of` takes the pools of a call's tag
    key_policy: KeyPolicy
    scopes: tuple[str, ...]  # what the key may do, for the app to check
    is_open: bool  # active without expiry, and from any address
    is_restricted: bool  # to some endpoints, models or tools, or has limits per tool
    is_plain: bool  # each call takes one unit of each limit
    needs_route: bool  # for its limits, its restrictions or a price
    needs_body: bool  # to find the model or the tokens
    needs_model: bool  # refuses calls that do not name their model
    tool_limits: tuple[Limit, ...]  # these refuse calls whose tools are unknown
    is_capped: bool  # has enforced limits that depend on the body; refuses calls whose body may hide something
    counts_models: bool  # … that depend on the models it names
    needs_price: bool

    @property
    def limits(self) -> list[Limit]:
        """Return all its limits."""
        return [*(pool.limit for pool in self.lease_pools), *(pools.limit for pools in self.tag_pools)]

    def needs_tools(self, route: str | None) -> bool:
        """Return whether calls to a route are refused if it is unknown which tools they call."""
        return self.key_policy.tools is not None or any(limit.is_for(route) for limit in self.tool_limits)

    def of_tag(self, tag: str | None) -> tuple[LeasePool, ...] | None:
        """Return the lease pools for a call with this tag; None if too many tags are in use."""
        found = [tag_pools.find(tag) for tag_pools in self.tag_pools]
        tagged = [lease_pool for lease_pool in found if lease_pool is not None]
        return (*self.lease_pools, *tagged) if len(tagged) == len(found) else None

    def refuses_unpriced(self, route: str | None, estimate: Estimate) -> str | None:
        """Return the name of a limit that refuses calls to models without a price; None if there is none."""
        for limit in self.limits:
            if limit.when_unpriced != "refuse" or limit.dry_run:
                continue
            if limit.covers(route, estimate.models, estimate.tools):
                return limit.name
        return None


class KeyCache:
    """Keys by id and credentials by digest, both bounded. Guarded by the lock of `Admission`."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.credentials: dict[bytes, tuple[str, int]] = {}  # digest -> key id, secret number
        self.lease_pools: WeakValueDictionary[str, LeasePool] = WeakValueDictionary()
        self.tag_pools: WeakValueDictionary[str, TagPools] = WeakValueDictionary()
        self.lowered: set[LeasePool] = set()  # of limits that were lowered or replaced: their leases go back
        self._known_tags = KnownTags()
        self._plans: WeakValueDictionary[str, Plan] = WeakValueDictionary()  # those of the keys
        self._unknown: dict[bytes, tuple[Refusal, int]] = {}  # digest -> why it is refused, and until when
        self._expired: dict[bytes, tuple[Key, int]] = {}  # digest -> key, secret number
        self._expired_until_ns = 0

    def find_unknown(self, digest: bytes, now_ns: int) -> Refusal | None:
        """Return the refusal of a digest for which the key service said recently that it belongs to no valid secret."""
        refusal, until_ns = self._unknown.get(digest, (UNKNOWN, 0))
        return refusal if until_ns > now_ns else None

    def mark_unknown(self, digest: bytes, now_ns: int, refusal: Refusal = UNKNOWN) -> None:
        """Remember that there is no such key; the oldest entry is dropped if there are too many."""
        self._expired.pop(digest, None)
        if len(self._unknown) >= _MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[digest] = (refusal, now_ns + _UNKNOWN_NS)

    def learn(self, digest: bytes, key_id: str, secret: int) -> None:
        """Remember the key and secret of a digest; the oldest entry is dropped if there are too many."""
        self._unknown.pop(digest, None)
        self._expired.pop(digest, None)
        if len(self.credentials) >= _MOST_KEYS:
            del self.credentials[next(iter(self.credentials))]
        key = self.keys.get(key_id)
        self.credentials[digest] = (key_id if key is None else key.id, secret)

    def expire(self, until_ns: int) -> None:
        """Look up every key again: what has changed in the meantime is unknown.

        Until then, but not after `until_ns`, the known entries stay valid: nobody waits, and look-ups take turns.
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
        """Return a key that is yet to be looked up again, and the number of its secret."""
        if not self._expired:
            return None
        if now_ns >= self._expired_until_ns:
            self._expired = {}
        return self._expired.get(digest)

    def put(self, entries: Iterable[dict[str, Any]], *, wanted: frozenset[str]) -> None:
        """Store the key entries of a heartbeat's answer that are `wanted` or known; ignore others."""
        for entry in entries:
            if entry["id"] in wanted or entry["id"] in self.keys:
                if len(self.keys) >= _MOST_KEYS and entry["id"] not in self.keys:
                    del self.keys[next(iter(self.keys))]
                self._replace(self._key(entry))

    def change_plan(self, entry: dict[str, Any], held: Iterable[LeasePool]) -> None:
        """Store a changed plan. Its keys adapt when they are used; the limits with `held` leases adapt at once."""
        old = self._plans.get(entry["id"])
        if old is None:
            return
        limits = entry["limits"]
        self._plans[old.id] = old.newer = Plan(old.id, limits, _provider_rules(entry["providers"]))
        changed = {limit["id"]: limit for limit in limits}
        for number, owner in {tuple(lease_pool.limit.id.split(":")[:2]) for lease_pool in held}:
            if number in changed:
                self._pools([_limit_of(changed[number], owner)])

    def adapt(self, key: Key) -> Key:
        """Return a key with its plan's current limits; the key's own limits stay."""
        key = self.keys.get(key.id, key)
        plan = key.plan
        while plan.newer is not None:
            plan = plan.newer
        if plan is key.plan:
            return key
        shared = [_limit_of(limit, key.account if limit["whose"] == "account" else key.id) for limit in plan.limits]
        own = [limit for limit in key.limits if limit.whose == "key"]
        adapted = replace(key, plan=plan, providers=plan.providers, **self._limited([*shared, *own], key.key_policy))
        if key.id in self.keys:
            self._replace(adapted)
        return adapted

    def _replace(self, key: Key) -> None:
        """Store the current entry of a key; leases of limits that it no longer has go back."""
        old = self.keys.get(key.id)
        self.keys[key.id] = key
        if old is not None and old.lease_pools != key.lease_pools:
            self.lowered.update(set(old.lease_pools).difference(key.lease_pools))
        if old is not None and old.tag_pools != key.tag_pools:
            for tag_pools in set(old.tag_pools).difference(key.tag_pools):
                self.lowered.update(tag_pools.all())

    def _key(self, entry: dict[str, Any]) -> Key:
        expiries = [entry["expires_at"], *(secret["expires_at"] for secret in entry["secrets"])]
        key_policy = KeyPolicy.from_json(entry)
        return Key(
            id=entry["id"],
            account=intern(entry["account"]),
            plan=self._plan(entry["plan"]),
            providers=_provider_rules(entry.get("providers")),
            tariff=entry.get("tariff"),
            status=intern(entry["status"]),
            expires_ns=_wall_ns(entry["expires_at"]),
            secrets=_shared_dict(*((secret["number"], _wall_ns(secret["expires_at"])) for secret in entry["secrets"])),
            key_policy=key_policy,
            scopes=tuple(entry.get("scopes", ())),
            is_open=entry["status"] == "active" and key_policy.networks is None and set(expiries) <= {None},
            needs_model=key_policy.models is not None,
            **self._limited([Limit.from_json(limit) for limit in entry["limits"]], key_policy),
        )

    def _plan(self, plan_id: str) -> Plan:
        plan = self._plans.get(plan_id)
        if plan is None:
            plan = self._plans[plan_id] = Plan(intern(plan_id))
        return plan

    def _limited(self, limits: Sequence[Limit], key_policy: KeyPolicy) -> dict[str, Any]:
        """Return the fields of a key that follow from its limits."""
        lease_pools, tag_pools = self._pools(limits)
        shown = _shown(lease_pools)
        policy = Policy(shown)
        tool_limits = tuple(limit for limit in limits if limit.tool is not None and not limit.dry_run)
        named = (key_policy.models, key_policy.tools)
        is_restricted = bool(tool_limits) or {*named, key_policy.routes} != {None}
        needs_price = any(limit.unit == "nanousd" for limit in limits)
        return {
            "is_restricted": is_restricted,
            "tool_limits": tool_limits,
            "lease_pools": lease_pools,
            "tag_pools": tag_pools,
            "policy": policy,
            "tag_policy": policy if not tag_pools else Policy([*shown, *_shown(tag_pools)]),
            "is_plain": all(limit.is_plain for limit in limits),
            "is_capped": any(limit.needs_body and not limit.dry_run for limit in limits),
            "counts_models": any(limit.counts_models and not limit.dry_run for limit in limits),
            "needs_route": is_restricted or needs_price or any(limit.is_scoped for limit in limits),
            "needs_price": needs_price,
            "needs_body": set(named) != {None} or any(limit.needs_body for limit in limits),
        }

    def _pools(self, limits: Sequence[Limit]) -> tuple[tuple[LeasePool, ...], tuple[TagPools, ...]]:
        """Return the lease pools of limits, and the tag pools of limits with a counter per tag."""
        return (
            tuple(self._lease_pool(limit) for limit in limits if not limit.per_tag),
            tuple(self._tag_pools(limit) for limit in limits if limit.per_tag),
        )

    def _tag_pools(self, limit: Limit) -> TagPools:
        """Return the tag pools of a limit with a counter per tag; the existing ones if the limit is known."""
        tag_pools = self.tag_pools.get(limit.id)
        if tag_pools is None:
            tag_pools = self.tag_pools[limit.id] = TagPools(limit, self._known_tags)
        elif tag_pools.limit != limit:
            self.lowered.update(tag_pools.change(limit))
        return tag_pools

    def _lease_pool(self, limit: Limit) -> LeasePool:
        """Return the lease pool of a limit. A known limit keeps its leases; a changed one may request units at once."""
        lease_pool = self.lease_pools.get(limit.id)
        if lease_pool is None:
            lease_pool = self.lease_pools[limit.id] = lease_pool_of(limit)
        elif lease_pool.limit != limit:
            if limit.amount < lease_pool.limit.amount:
                self.lowered.add(lease_pool)
            lease_pool.limit = limit
            lease_pool.denied_until_ns = 0
        return lease_pool


def _shown(pools: Sequence[_Pools]) -> list[_Pools]:
    """Return the pools whose limits are not dry runs."""
    return [one for one in pools if not one.limit.dry_run]


def _limit_of(terms: dict[str, Any], owner: str) -> Limit:
    return Limit.from_json(terms | {"id": f"{terms['id']}:{owner}"})


def _provider_rules(texts: Sequence[str] | None) -> ProviderRules | None:
    return ProviderRules(map(parse_rule, texts)) if texts else None


@lru_cache(1024)  # most keys have one secret without expiry
def _shared_dict(*items: tuple[int, int | None]) -> Mapping[int, int | None]:
    return dict(items)


def _wall_ns(unix_s: float | None) -> int | None:
    return None if unix_s is None else int(unix_s * SECOND)
