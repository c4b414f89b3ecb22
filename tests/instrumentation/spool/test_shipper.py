"""The shipper: the requests it sends to the key service, and their order."""

import json
import time
from collections import Counter
from threading import Event, Thread

import pytest
from flask import abort, request, request_started
from polling import until

from keygauge.settings.settings import Settings
from keygauge.spool import event
from keygauge.spool import reporter as reporter_module
from keygauge.spool import shipper as shipper_module
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.segment import SpoolReader
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool

SPOOL_BYTES = 200_000


class Ship:
    """A process's spool and its shipper."""

    def __init__(self, service, directory):
        self.drops, self.totals = Counter(), HourlyCounts()
        settings = Settings(
            service_url=service.url, service_token="test-service-token-0123456789", spool_dir=directory, host="h"
        )
        self.spool = spool(directory, settings.service_address, self.drops)
        reporter = Reporter(settings, self.spool, self.totals, replica="f0")
        self.shipper = Shipper(settings, self.spool, reporter, on_drop=self._drop, on_fault=print)

    def _drop(self, reason):
        self.drops[reason] += 1

    def end(self):
        """Stop shipping; return whether everything is in the ledger."""
        return self.shipper.stop(20)


def spool(directory, address, drops):
    return Spool(directory, address, most_bytes=SPOOL_BYTES, on_drop=lambda reason: drops.update([reason]))


@pytest.fixture
def at_once(monkeypatch):
    """Ship and look for dead spools almost continuously, and report after every batch."""
    monkeypatch.setattr(shipper_module, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(reporter_module, "_INTERVAL_S", 0)
    monkeypatch.setattr(shipper_module, "_ADOPTION_S", 0.05)


@pytest.fixture
def ship(at_once, service, tmp_path):
    ship = Ship(service, tmp_path)
    yield ship
    ship.spool.close(empty=ship.end())


@pytest.fixture
def line(service):
    """One valid event of a new key."""
    key, _ = service.key()
    service.look_up(key)
    counts = dict.fromkeys(("duration_us", "request_bytes", "response_bytes", "messages"), 0)
    texts = {"route": "/a", "method": "GET", "usage_status": "none", "outcome": "admitted"}
    told = {"time_us": time.time_ns() // 1_000, "account": key.account_id, "key": key.id, "status": 200}
    return json.dumps([{**counts, **texts, **told}.get(field) for field in event.FIELDS]).encode() + b"\n"


def ledger_events(service):
    return service.connection.execute("SELECT count(*) AS count FROM event").fetchone()["count"]


def steadily(ship, line, pending):
    """Write events so that the shipper never reaches the end; `set()` the returned event to stop."""
    enough = Event()

    def write():
        while not enough.is_set():
            if ship.shipper.pending < pending:
                ship.spool.append(line)
            else:
                time.sleep(0.0005)

    Thread(target=write, daemon=True).start()
    return enough


def test_reports_are_sent_between_batches_under_steady_load(service, ship, line):
    for _ in range(1_000):  # more than fit in a segment, and so in a batch
        ship.spool.append(line)
        ship.totals.count(time.time_ns(), 0, 0)
    paths = []
    with request_started.connected_to(lambda _: paths.append(request.path), service.app):
        ship.shipper.start()
        assert ship.shipper.stop(20)
    assert paths.count("/v1/events") > 1
    assert paths[:4] == ["/v1/events", "/v1/reports", "/v1/events", "/v1/reports"]


def test_events_written_during_a_batch_wait_for_the_next_round(service, ship, line):
    ship.spool.append(line)
    with request_started.connected_to(lambda _: ship.spool.append(line), service.app):
        ship.shipper._ship(stopping=False)
    assert ledger_events(service) == 1
    assert ship.shipper.pending  # written during the batch and its report
    ship.shipper._ship(stopping=True)
    assert ship.shipper.pending == 0


def test_outage_under_steady_traffic_drops_nothing_while_the_spool_has_room(service, ship, line):
    service.down()
    ship.shipper.start()
    most = SPOOL_BYTES // len(line) - 100
    for _ in range(most):
        ship.spool.append(line)
    assert ship.shipper.pending == most
    enough = steadily(ship, line, pending=most)
    service.up()
    until(lambda: ship.spool.next > 5 * most)  # five times the spool's size, nine tenths full all the time
    enough.set()
    assert ship.end()
    assert not ship.drops
    assert ledger_events(service) == ship.spool.next


def test_dead_spool_is_adopted_even_if_the_own_one_is_never_empty(service, ship, line, tmp_path):
    dead = spool(tmp_path, service.url, Counter())
    dead.append(line)
    dead.close(empty=False)
    for _ in range(500):
        ship.spool.append(line)
    enough = steadily(ship, line, pending=500)
    ship.shipper.start()
    until(lambda: not list(tmp_path.glob(f"{dead.id}.*")))
    enough.set()
    assert ship.end()
    assert not ship.drops
    assert ledger_events(service) == ship.spool.next + 1


def test_own_events_do_not_wait_for_a_dead_spool(service, ship, line, tmp_path):
    dead = spool(tmp_path, service.url, Counter())
    dead.append(line)
    dead.close(empty=False)
    freed = Event()

    @service.app.before_request
    def hold_up():
        if request.args.get("spool") == dead.id:
            freed.wait(100)

    ship.shipper.start()
    ship.spool.append(line)
    until(lambda: ledger_events(service) == 1)
    freed.set()
    until(lambda: ledger_events(service) == 2)


def test_failing_dead_spool_does_not_block_others(service, ship, line, tmp_path):
    dead = sorted((spool(tmp_path, service.url, Counter()) for _ in range(3)), key=lambda made: made.id)
    for made in dead:
        made.append(line)
        made.close(empty=False)

    @service.app.before_request
    def fail():
        if request.args.get("spool") == dead[0].id:
            abort(500)

    ship.shipper.start()
    until(lambda: ledger_events(service) == 2)
    assert SpoolReader(tmp_path, dead[0].id).batch() is not None
