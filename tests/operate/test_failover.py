"""Failovers between a primary and its synchronous standby, under load, with a URL that has both hosts."""

import time
from collections import Counter
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from polling import until

from keygauge_keyservice.accounts import accounts, plans

QUOTA = plans.Limit(name="daily", unit="request", amount=60, period="day")


class Caller:
    """A client that calls repeatedly with a key, and records the answers and the longest time of refusals."""

    def __init__(self, installation, token, pause_s):
        self.answers = Counter()
        self.refused_s = 0.0
        self._call = lambda: installation.call(token)
        self._pause_s = pause_s
        self._refused_since = None

    def run(self, ended):
        while not ended.wait(self._pause_s):
            self.once()

    def once(self):
        status = self._call()
        self.answers[status] += 1
        if status != 503:
            self._refused_since = None
            return
        self._refused_since = self._refused_since or time.monotonic()
        self.refused_s = max(self.refused_s, time.monotonic() - self._refused_since)


@contextmanager
def calling(*callers):
    ended = Event()
    threads = [Thread(target=caller.run, args=(ended,)) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def pair(cluster):
    """A primary and its synchronous standby."""
    standby = cluster.standby()
    cluster.wait_for_standby()
    yield [cluster, standby]
    standby.delete()


@pytest.fixture
def installation(pair, install):
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in pair)
    return install(f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write")


def limited_key(installation):
    with installation.connect() as connection:
        plans.create(connection, plan_id="small", name="small", limits=[QUOTA], actor="test")
        account = accounts.create(connection, name="Small", plan_id="small", actor="test").id
    return installation.key(account)


def switch_over(pair):
    """Kill the primary, promote the standby with all acknowledged commits, and make the old primary its standby."""
    primary, standby = pair
    primary.kill()
    standby.promote()
    primary.follow(standby)
    standby.wait_for_standby()
    pair.reverse()


def statuses(installation, key):
    with installation.connect() as connection:
        rows = connection.execute("SELECT status, count(*) AS calls FROM event WHERE key_id = %s GROUP BY 1", (key,))
        return {row["status"]: row["calls"] for row in rows}


def test_three_kills_of_the_primary_lose_no_call_and_exceed_no_limit(pair, installation):
    key, token = installation.key(installation.account())
    small, small_token = limited_key(installation)
    caller, small_caller = Caller(installation, token, 0.01), Caller(installation, small_token, 0.5)
    caller.once()
    small_caller.once()
    try:
        with calling(caller, small_caller):
            for _ in range(3):
                answered = caller.answers[200]
                switch_over(pair)
                until(lambda answered=answered: caller.answers[200] > answered + 20)
        while small_caller.answers[429] == 0:
            small_caller.once()
        print({"answered": caller.answers, "refused_s": caller.refused_s})
        assert small_caller.answers[200] <= QUOTA.amount
        until(lambda: statuses(installation, key).get(200) == caller.answers[200])
        until(lambda: statuses(installation, small).get(200) == small_caller.answers[200])
    finally:
        installation.end()
