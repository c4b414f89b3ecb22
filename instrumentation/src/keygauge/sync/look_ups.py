"""The queue of keys to look up, which is fair between client addresses and limits those that guess keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from keygauge import networks
from keygauge.clock import SECOND

_MOST = 10_000  # keys of clients that wait for a heartbeat, per process
_MOST_OF_ADDRESS = 1_000
_GUESSES_PER_S = 50  # unknown keys per second from one address; real keys don't count
_GUESS_NS = SECOND // _GUESSES_PER_S
_MOST_GUESSERS = 10_000
_SUSPECT_NS = 60 * SECOND  # for this long after its last guess, a site ranks behind those that guessed nothing
_MOST_SUSPECTS = 50_000


@dataclass(slots=True)
class LookUp:
    """A key to look up, with the address and site that asked first; None for a key that this process knew before."""

    digest: bytes
    key_id: str
    address: str | None
    site: str | None = None


class _Turns:
    """Look-ups per address. Addresses take turns, so that none waits for another's many look-ups."""

    def __init__(self) -> None:
        self.queues: dict[str | None, deque[LookUp]] = {}

    def put(self, look_up: LookUp) -> None:
        self.queues.setdefault(look_up.address, deque()).append(look_up)

    def take(self) -> Iterator[LookUp]:
        while self.queues:
            address = next(iter(self.queues))
            queue = self.queues.pop(address)
            look_up = queue.popleft()
            if queue:
                self.queues[address] = queue  # at the end
            yield look_up


@dataclass(slots=True)
class LookUps:
    """Look-ups that wait for a heartbeat: keys known before, then those of sites that guessed nothing, then others.

    An attacker may use many addresses: each site is a suspect from its first guess.
    """

    waiting: dict[bytes, LookUp] = field(default_factory=dict)
    _known: dict[bytes, LookUp] = field(default_factory=dict)
    _clean: _Turns = field(default_factory=_Turns)
    _suspect: _Turns = field(default_factory=_Turns)
    _has_no_room: bool = False  # until the next heartbeat takes look-ups
    _guessers: dict[str | None, int] = field(default_factory=dict)  # address -> when its guesses are forgotten
    _suspects: dict[str | None, int] = field(default_factory=dict)  # site -> when it guessed last

    def add(self, digest: bytes, key_id: str, ip: str | None, now_ns: int) -> bool:
        """Queue a key that a client sent; False if the address guesses keys, or too many wait."""
        if digest in self.waiting:
            return True
        address = networks.holder(ip)
        if self._guesses(address, now_ns) >= _GUESSES_PER_S:
            return False
        site = networks.holder(ip, ipv6_prefix=networks.IPV6_SITE)
        turns = self._suspect if now_ns - self._suspects.get(site, -_SUSPECT_NS) < _SUSPECT_NS else self._clean
        if len(turns.queues.get(address, ())) >= _MOST_OF_ADDRESS:
            return False
        if len(self.waiting) - len(self._known) >= _MOST and not self._make_room(turns, address):
            return False
        self.waiting[digest] = look_up = LookUp(digest, key_id, address, site)
        turns.put(look_up)
        return True

    def add_known(self, digest: bytes, key_id: str) -> None:
        """Queue a key that this process knew until recently."""
        if digest not in self.waiting:
            self.waiting[digest] = self._known[digest] = LookUp(digest, key_id, None)

    def take(self, most: int) -> dict[bytes, LookUp]:
        """Take the look-ups for the next heartbeat; at most half of them are keys known before."""
        known = list(islice(self._known.values(), max(1, most // 2)))
        taken = {look_up.digest: look_up for look_up in known}
        for turns in (self._clean, self._suspect):
            for look_up in islice(turns.take(), most - len(taken)):
                taken[look_up.digest] = look_up
        for digest in taken:
            del self.waiting[digest]
            self._known.pop(digest, None)
        self._has_no_room = False
        return taken

    def mark_unknown(self, look_ups: Iterable[LookUp], now_ns: int) -> None:
        """Count keys that do not exist as guesses of the addresses and sites that asked for them."""
        for look_up in look_ups:
            until_ns = max(self._guessers.get(look_up.address, now_ns), now_ns) + _GUESS_NS
            _remember(self._guessers, look_up.address, min(until_ns, now_ns + SECOND), _MOST_GUESSERS)
            _remember(self._suspects, look_up.site, now_ns, _MOST_SUSPECTS)

    def _guesses(self, address: str | None, now_ns: int) -> int:
        return -((now_ns - self._guessers.get(address, now_ns)) // _GUESS_NS)

    def _make_room(self, turns: _Turns, address: str) -> bool:
        """Drop the queue of an address that guessed, or else half of the longest queue if this one stays shorter."""
        if turns is self._suspect or self._has_no_room:
            return False
        if self._suspect.queues:
            _, dropped = self._suspect.queues.popitem()
        else:
            longest = max(self._clean.queues.values(), key=len)
            self._has_no_room = len(longest) <= len(turns.queues.get(address, ())) + 1
            dropped = deque() if self._has_no_room else deque(longest.pop() for _ in range(len(longest) // 2))
        for look_up in dropped:
            del self.waiting[look_up.digest]
        return not self._has_no_room


def _remember(memory: dict[str | None, int], name: str | None, value: int, most: int) -> None:
    """Store a value as the newest; drop the oldest if there are too many."""
    memory.pop(name, None)
    if len(memory) >= most:
        del memory[next(iter(memory))]
    memory[name] = value
