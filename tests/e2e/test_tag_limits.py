"""A limit per tag on real PostgreSQL, with killed processes and a restarted key service."""

import time

import pytest
from tagged_process import TAGS
from test_limits import Cluster, cluster, most_in_any_window

__all__ = ["Cluster", "cluster"]

WINDOW_S = 2


@pytest.mark.timeout(600)
@pytest.mark.long
def test_every_end_user_gets_the_whole_limit_and_no_more(cluster):
    rate, quota = 10, 40
    _, token = cluster.token(
        {"name": "rate", "unit": "request", "amount": rate, "window_s": WINDOW_S, "per_tag": True},
        {"name": "quota", "unit": "request", "amount": quota, "period": "lifetime", "per_tag": True},
    )
    alive = [cluster.start([token], pause_s=0.002, program="tagged_process.py") for _ in range(2)]
    deadline = time.monotonic() + 150
    restarted = False
    while any(len(cluster.admitted(place)) < quota for place in range(len(TAGS))) and time.monotonic() < deadline:
        if not restarted and sum(len(cluster.admitted(place)) for place in range(len(TAGS))) > quota:
            restarted = True
            cluster.stop_service()
            cluster.serve()
        time.sleep(0.2)
    time.sleep(1)
    admitted = {tag: cluster.admitted(place) for place, tag in enumerate(TAGS)}
    assert {tag: len(moments) for tag, moments in admitted.items()} == dict.fromkeys(TAGS, quota)
    assert max(most_in_any_window(moments, WINDOW_S) for moments in admitted.values()) <= rate
    assert all(process.poll() is None for process in alive)
    rows = cluster.connection.execute("SELECT tags FROM limit_state WHERE base IS NULL").fetchall()
    assert [row["tags"] for row in rows] == [len(TAGS) - 1] * 2


@pytest.mark.timeout(600)
def test_a_killed_process_loses_only_its_leases(cluster):
    _, token = cluster.token({"name": "quota", "unit": "request", "amount": 60, "period": "month", "per_tag": True})
    one, _ = (cluster.start([token], pause_s=0.004, program="tagged_process.py") for _ in range(2))
    while sum(len(cluster.admitted(place)) for place in range(len(TAGS))) < 60:
        time.sleep(0.05)
    one.kill()
    cluster.start([token], pause_s=0.004, program="tagged_process.py")
    deadline = time.monotonic() + 100
    while any(len(cluster.admitted(place)) < 40 for place in range(len(TAGS))) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    counts = [len(cluster.admitted(place)) for place in range(len(TAGS))]
    assert all(40 <= count <= 60 for count in counts), counts
