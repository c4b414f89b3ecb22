"""The heartbeat, which requests leases and fetches changes once a second, or at once if a request waits."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

from keygauge import __version__, clock
from keygauge.call import Call
from keygauge.clock import MS, SECOND, now_ns
from keygauge.limits.admission import Admission
from keygauge.limits.authorizer import PendingHeartbeat
from keygauge.limits.cost import Costing
from keygauge.limits.refusal import REPLACED, UNKNOWN
from keygauge.pricing.price_cache import PriceCache
from keygauge.settings.settings import Settings
from keygauge.sync import open_streams
from keygauge.sync.client import ServiceClient, ServiceError
from keygauge.sync.lease_sync import LeaseSync
from keygauge.sync.look_ups import LookUp, LookUps

_log = logging.getLogger(__name__)

_INTERVAL_NS = SECOND
_TIMEOUT_S = 2.0
_LAST_S = 2 * _TIMEOUT_S  # the current heartbeat, and the last one, which gives the leases back
_RETRY_S = 0.1  # after a heartbeat that was not answered


class Heartbeat:
    """A thread that sends heartbeats. `reached_ns` is when the last answered one was sent, or the start time."""

    def __init__(self, settings: Settings, *, on_fault: Callable[[str], None], streams: Collection[Call]) -> None:
        assert settings.service_url is not None  # noqa: S101 - for the type checker; ensured by Settings
        assert settings.service_token is not None  # noqa: S101 - as above
        self.replica = uuid4().hex
        self.admission = Admission(wake=self.wake)
        self.prices = PriceCache(on_fault=on_fault)
        self.costing = Costing(self.prices, self.admission.key_cache)
        self._lease_sync = LeaseSync(self.admission, clock=clock.name())
        self.reached_ns = now_ns()
        self._ended_ns = 0
        self._settings = settings
        self._on_fault = on_fault
        self._streams = streams
        self._client = ServiceClient(settings.service_url, settings.service_token, timeout_s=_TIMEOUT_S)
        self._cursor: int | None = None
        self.epoch: str | None = None  # the database history that the cursor belongs to
        self._lock = Lock()
        self._look_ups = LookUps()
        self._round: PendingHeartbeat = Future()
        self._due = Event()
        self._stop = Event()
        self._complained = False
        self._thread = Thread(target=self._run, name="keygauge-beat", daemon=True)

    def start(self) -> None:
        """Start sending heartbeats."""
        self._thread.start()

    def stop(self, timeout_s: float = _LAST_S) -> None:
        """Give all leases back and stop."""
        self._stop.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def wake(self) -> None:
        """Send a heartbeat now."""
        self._due.set()

    def look_up(self, digest: bytes, key_id: str, ip: str | None) -> PendingHeartbeat | None:
        """Look up a key that is not known here; concurrent look-ups of a key share the answer.

        None if too many are pending, or this address asked for too many that do not exist.
        """
        with self._lock:
            if not self._look_ups.add(digest, key_id, ip, now_ns()):
                return None
            pending = self._round
        self.wake()
        return pending

    def look_up_again(self, digest: bytes, key_id: str) -> None:
        """Refresh a key with the next regular heartbeat, not at once: all replicas may do the same."""
        with self._lock:
            self._look_ups.add_known(digest, key_id)

    def next_round(self) -> PendingHeartbeat:
        """Return the heartbeat that carries requests made now."""
        with self._lock:
            return self._round

    def _run(self) -> None:
        while True:
            if not self._stop.is_set():
                self._due.wait(self._pause_s())
            stopping = self._stop.is_set()  # read before the heartbeat: later requests are not carried
            self._due.clear()
            if stopping:
                self._wind_up()
            answered = self._heartbeat(stopping=stopping)
            if stopping:
                self._return_rest(answered=answered)
                self._client.close()
                return
            if not answered:
                self._stop.wait(_RETRY_S)

    def _wind_up(self) -> None:
        """Settle calls before the last heartbeat: first those that wait for a price, then usage beyond reservations."""
        if self.prices.is_awaited:
            self._heartbeat(stopping=False)
        if self.admission.owes():
            self._heartbeat(stopping=False)

    def _return_rest(self, *, answered: bool) -> None:
        """Give back the leases that one heartbeat could not carry, while the key service answers."""
        until_ns = now_ns() + int(_TIMEOUT_S * SECOND)
        while answered and self._lease_sync.owes() and now_ns() < until_ns:
            answered = self._heartbeat(stopping=True)

    def _pause_s(self) -> float:
        """Return the time to the next regular heartbeat, or until a lease has to go back if that is sooner."""
        until = self._ended_ns + _INTERVAL_NS
        turn_ns = self._lease_sync.turn_ns()
        if turn_ns is not None:
            until = min(until, turn_ns)
        return float(max(until - now_ns(), 0)) / SECOND

    def _heartbeat(self, *, stopping: bool) -> bool:
        with self._lock:
            look_ups = self._look_ups.take(self._lease_sync.most)
            if self._look_ups.waiting:
                self.wake()
            ended, self._round = self._round, Future()
        answered = False
        try:
            answered = self._exchange(look_ups, stopping=stopping)
        except ServiceError as error:
            self._complain(error)
        except Exception:  # noqa: BLE001 - a bug of ours must not stop the heartbeat
            _log.exception("KeyGauge's heartbeat failed")
            self._on_fault("beat")
        finally:
            self._ended_ns = now_ns()
            if answered:
                self.admission.away = False
            else:
                self._fail()
            ended.set_result(answered)
        return answered

    def _fail(self) -> None:
        """Let all waiting calls decide again, including those that arrived during the heartbeat."""
        self.admission.fail()
        with self._lock:
            coming, self._round = self._round, Future()
        coming.set_result(False)

    def _exchange(self, look_ups: dict[bytes, LookUp], *, stopping: bool) -> bool:
        prices, names = self.prices.offer()
        leases, request = self._lease_sync.offer(stopping=stopping)
        message = {
            "replica": self.replica,
            "service": self._settings.service_name,
            "host": self._settings.host,
            "version": __version__,
            "mode": self._settings.mode,
            "cursor": self._cursor,
            "epoch": self.epoch,
            "look_up": [{"key": item.key_id, "digest": digest.hex()} for digest, item in look_ups.items()],
            "prices": prices,
            "plans": True,
            "streams": open_streams.describe(self._streams, now_ns()),
            **leases,
        }
        try:
            answer = self._client.post("/v1/heartbeat", json.dumps(message).encode(), "application/json")
        except ServiceError:
            with self.admission.lock:
                self._lease_sync.give_up(request)
            raise
        with self.admission.lock:
            self._learn(answer, look_ups)
            self._lease_sync.take(answer, request)
        self.prices.take(answer.get("prices"), names)
        if self.prices.is_urgent:
            self.wake()
        self.reached_ns = request.sent_ns
        if self._complained:
            self._complained = False
            _log.warning("Key service reachable again")  # at the same level as the failure
        return True

    def _learn(self, answer: dict[str, Any], look_ups: dict[bytes, LookUp]) -> None:
        """Apply what the answer says about keys."""
        key_cache = self.admission.key_cache
        if answer["afresh"]:
            key_cache.expire(self.admission.clock() + answer["t_max_ms"] * MS)
        key_cache.put(answer["keys"], wanted=frozenset(item.key_id for item in look_ups.values()))
        for plan in answer.get("plans", ()):  # older key services send the keys instead
            key_cache.change_plan(plan, self.admission.held)
        if key_cache.lowered:
            self.wake()
        for found in answer["found"]:
            key_cache.learn(bytes.fromhex(found["digest"]), found["key"], found["secret"])
        unknown = [bytes.fromhex(digest) for digest in answer["unknown"]]
        ended_at = {
            item["digest"]: item["ended_at"] for item in answer.get("replaced", ())
        }  # older key services send none
        for digest in unknown:
            since_s = ended_at.get(digest.hex())
            refusal = UNKNOWN if since_s is None else replace(REPLACED, since_s=since_s)
            key_cache.mark_unknown(digest, self.admission.clock(), refusal)
        if unknown:
            with self._lock:
                self._look_ups.mark_unknown([look_ups[digest] for digest in unknown if digest in look_ups], now_ns())
        self._cursor, self.epoch = answer["cursor"], answer.get("epoch")  # older key services send none
        if answer["more"]:
            self.wake()

    def _complain(self, error: ServiceError) -> None:
        """Log the first failure in a row; the age of the last heartbeat shows how long it lasts."""
        if not self._complained:
            self._complained = True
            _log.warning("Key service unreachable; retrying: %s", error)
