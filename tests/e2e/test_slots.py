"""Limits of concurrent requests on real PostgreSQL: processes are killed, and there are never more calls than slots."""

import random
import time

import pytest
from limited_process import RECORD
from test_limits import LONG, PROCESSES, Cluster

from keygauge.clock import SECOND, now_ns
from keygauge_keyservice.limits.kinds.concurrency import LIFE_US

SLOTS = 6


@pytest.fixture
def cluster(database_url, connection, tmp_path):
    cluster = Cluster(database_url, connection, tmp_path)
    yield cluster
    cluster.end()


def read(file):
    """Return the records of a process: (1 or -1, time)."""
    data = file.read_bytes() if file.exists() else b""
    return list(RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]))


def most_at_once(cluster, ended_ns):
    """Return the most simultaneous calls; those of a killed process end with it."""
    changes = []
    for place, file in enumerate(cluster.files):
        records = read(file)
        changes += [(moment, change) for change, moment in records]
        if under_way := sum(change for change, _ in records):
            changes.append((ended_ns.get(place, now_ns()), -under_way))
    most = under_way = 0
    for _, change in sorted(changes):  # at the same time, those that leave first
        under_way += change
        most = max(most, under_way)
    return most


@pytest.mark.timeout(600)
def test_there_are_never_more_calls_than_slots_when_processes_are_killed(cluster):
    _, token = cluster.token({"name": "at_once", "unit": "concurrent", "amount": SLOTS})

    def begin():
        return len(cluster.files), cluster.start([token], pause_s=4, program="slot_process.py")

    alive = [begin() for _ in range(PROCESSES)]
    cluster.wait_for_calls(20)
    dice, ended_ns = random.Random(5), {}
    for _ in range(60 if LONG else 8):
        time.sleep(dice.uniform(0.3, 2))
        number = dice.randrange(PROCESSES)
        place, process = alive[number]
        process.kill()
        process.wait()
        ended_ns[place] = now_ns()
        alive[number] = begin()
    assert most_at_once(cluster, ended_ns) <= SLOTS


@pytest.mark.timeout(300)
def test_slots_of_killed_processes_become_free_in_time(cluster):
    _, token = cluster.token({"name": "at_once", "unit": "concurrent", "amount": SLOTS})
    for _ in range(2):
        cluster.start([token], pause_s=SLOTS, program="slot_process.py")
    cluster.wait_for_calls(10)
    for process in cluster.processes:
        process.kill()
        process.wait()
    killed_ns = now_ns()
    cluster.start([token], pause_s=2 * SLOTS, program="slot_process.py")
    until = time.monotonic() + 150
    full_ns = None
    while full_ns is None and time.monotonic() < until:
        time.sleep(0.2)
        under_way = 0
        for change, moment in read(cluster.files[-1]):
            under_way += change
            if under_way == SLOTS:
                full_ns = moment
                break
    assert full_ns is not None
    print(f"all slots were in use again {(full_ns - killed_ns) / SECOND:.1f} s after the kill")
    assert (full_ns - killed_ns) / SECOND <= LIFE_US / 1_000_000 + 3  # plus the time to start and to request slots
