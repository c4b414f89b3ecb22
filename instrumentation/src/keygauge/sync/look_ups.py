"""Keys to look up: a queue that is fair between client addresses, and bounds on those who invent keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from keygauge.clock import SECOND

_MOST = 10_000  # keys that wait for a heartbeat, in one process
_MOST_OF_ADDRESS = 1_000
_GUESSES_PER_S = 50  # keys that do not exist, asked for by one address; real keys cost nothing
_GUESS_NS = SECOND // _GUESSES_PER_S
_MOST_GUESSERS = 10_000
_IPV6_PREFIX = 64  # a network of one customer: its 2^64 addresses count as one


@dataclass(slots=True)
class LookUp:
    """A key to look up, and the address that asked first; None: this process, for a key that it knew."""

    digest: bytes
    key_id: str
    address: str | None


@dataclass(slots=True)
class LookUps:
    """Look-ups by address. Each address in turn has one carried, so that none waits for another's many."""

    waiting: dict[bytes, LookUp] = field(default_factory=dict)
    _queues: dict[str | None, deque[LookUp]] = field(default_factory=dict)
    _guessers: dict[str | None, int] = field(default_factory=dict)  # address -> when its guesses are forgotten

    def add(self, digest: bytes, key_id: str, ip: str | None, now_ns: int) -> bool:
        """Queue a key that a client sent; False: the address guesses, or too many wait."""
        if digest in self.waiting:
            return True
        address = _network(ip)
        if self._guesses(address, now_ns) >= _GUESSES_PER_S:
            return False
        queue = self._queues.get(address, ())
        if len(queue) >= _MOST_OF_ADDRESS or (len(self.waiting) >= _MOST and not self._make_room(len(queue))):
            return False
        self._put(LookUp(digest, key_id, address))
        return True

    def add_known(self, digest: bytes, key_id: str) -> None:
        """Queue a key that this process knew until a moment ago."""
        if digest not in self.waiting and len(self.waiting) < _MOST:
            self._put(LookUp(digest, key_id, None))

    def take(self, most: int) -> dict[bytes, LookUp]:
        """Take the look-ups that the next heartbeat carries, in turns of the addresses."""
        taken: dict[bytes, LookUp] = {}
        while self._queues and len(taken) < most:
            address = next(iter(self._queues))
            queue = self._queues.pop(address)
            look_up = queue.popleft()
            taken[look_up.digest] = self.waiting.pop(look_up.digest)
            if queue:
                self._queues[address] = queue  # behind the others
        return taken

    def mark_unknown(self, look_ups: Iterable[LookUp], now_ns: int) -> None:
        """Count the keys that do not exist against those who asked for them."""
        for address in [look_up.address for look_up in look_ups]:
            until_ns = max(self._guessers.pop(address, now_ns), now_ns) + _GUESS_NS
            if len(self._guessers) >= _MOST_GUESSERS:
                del self._guessers[next(iter(self._guessers))]
            self._guessers[address] = min(until_ns, now_ns + SECOND)

    def _guesses(self, address: str | None, now_ns: int) -> int:
        return -((now_ns - self._guessers.get(address, now_ns)) // _GUESS_NS)

    def _make_room(self, queued: int) -> bool:
        """Drop the last look-up of the longest queue, where that is longer than one of this length would be."""
        longest = max(self._queues.values(), key=len)
        if len(longest) <= queued + 1:
            return False
        del self.waiting[longest.pop().digest]
        return True

    def _put(self, look_up: LookUp) -> None:
        self.waiting[look_up.digest] = look_up
        self._queues.setdefault(look_up.address, deque()).append(look_up)


def _network(ip: str | None) -> str:
    """Name whom an address belongs to; what is no address belongs to one who hides it."""
    try:
        address = ip_address((ip or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(int(address) >> (128 - _IPV6_PREFIX))
    return str(address)
