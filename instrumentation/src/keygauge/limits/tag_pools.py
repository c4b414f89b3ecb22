"""Lease pools of limits with a counter per tag, created when a tag is first seen and dropped when it is unused."""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from keygauge.limits.concurrency import lease_pool_of
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit

MOST = 10_000  # tags in use at once per limit; calls with further tags are refused
MOST_IN_ALL = 20_000  # … for all limits of a process
_RECENT = 5_000  # tags that are remembered without leases


class KnownTags:
    """The lease pools of one process per tag: those in use, and those used recently."""

    def __init__(self) -> None:
        self._pools: WeakValueDictionary[str, LeasePool] = WeakValueDictionary()  # by limit id
        self._recent: OrderedDict[str, LeasePool] = OrderedDict()  # least recently used first

    def find(self, limit: Limit) -> LeasePool | None:
        """Return the shared lease pool of a tag's counter; None if there are too many."""
        lease_pool = self._pools.get(limit.id)
        if lease_pool is None and len(self._pools) < MOST_IN_ALL:
            lease_pool = self._pools[limit.id] = lease_pool_of(limit)
        return lease_pool

    def note(self, lease_pool: LeasePool) -> None:
        """Note that a pool is used now; the least recently used one is dropped once it holds nothing."""
        self._recent[lease_pool.limit.id] = lease_pool
        self._recent.move_to_end(lease_pool.limit.id)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


class TagPools:
    """The lease pools of one limit, one per tag. Guarded by the lock of `Admission`."""

    __slots__ = ("__weakref__", "_known", "_pools", "limit")

    def __init__(self, limit: Limit, known: KnownTags) -> None:
        self.limit = limit
        self._known = known
        self._pools: WeakValueDictionary[str | None, LeasePool] = WeakValueDictionary()

    def find(self, tag: str | None) -> LeasePool | None:
        """Return the lease pool of a tag, or of calls without one; None if too many are in use."""
        lease_pool = self._pools.get(tag)
        if lease_pool is None:
            limit = self.limit.of_tag(tag)
            lease_pool = self._known.find(limit) if len(self._pools) < MOST else None
            if lease_pool is None:
                return None
            lease_pool.limit = limit
            self._pools[tag] = lease_pool
        self._known.note(lease_pool)
        return lease_pool

    def change(self, limit: Limit) -> list[LeasePool]:
        """Apply changed terms; return the lease pools that may hold too much now."""
        is_lowered = limit.amount < self.limit.amount
        self.limit = limit
        for tag, lease_pool in list(self._pools.items()):
            lease_pool.limit = limit.of_tag(tag)
            lease_pool.denied_until_ns = 0
        return self.all() if is_lowered else []

    def all(self) -> list[LeasePool]:
        """Return the lease pools of all tags in use."""
        return list(self._pools.values())
