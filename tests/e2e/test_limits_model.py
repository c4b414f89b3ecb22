"""Every possible order of events with two replicas, a limit of 2 and leases of 2.

The key service's decisions are the production code of strict rates and quotas. Time advances in quarters of the window,
and a period ends after three of them. Messages may be late, duplicated and lost; replicas spend, return and crash. They
read one clock.
"""

from typing import NamedTuple

import pytest

from keygauge.protocol import Acquisition, ClockReading, Return
from keygauge_keyservice.limits import kinds, leases
from keygauge_keyservice.limits.kinds.kind import Kind, Refund, Wish

LIMIT, WINDOW_S = 2, 1
TICK_US = 250_000
WINDOW = 4  # ticks
HORIZON = 5
CLOCK_US = 7_000_000_000
PERIOD_END = 3
EPOCH_US = 1_800_000_000_000_000 - PERIOD_END * TICK_US  # an hour ends at `PERIOD_END`
EMPTY = {"head": 0, "cells": [0], "ends": [], "clock": "", "stamps": []}
TERMS = {"unit": "request", "amount": LIMIT, "window_s": None, "period": None, "anchor": None, "zone": None}
ROWS = {
    "strict": TERMS | {"window_s": WINDOW_S, "smooth": False},
    "quota": TERMS | {"period": "hour", "smooth": False},
}
LEASES = {"strict": 3, "quota": 2}  # granted at most


class Held(NamedTuple):
    """A lease as a replica knows it, in ticks."""

    lease: int
    available: int
    start: int
    deadline: int
    spent: int  # when the last unit was spent, -1: none


class State(NamedTuple):
    now: int
    limit: Kind
    leases: tuple[tuple[int, int, int, int], ...]  # number, replica, units, bucket
    held: tuple[Held | None, ...]
    under_way: tuple[tuple, ...]  # messages in the network
    spends: tuple[int, ...]  # those that still count
    last: int


def successors(state, rules):
    yield from pass_time(state, rules)
    for replica in (0, 1):
        yield from act(state, replica)
        yield from spend(state, replica)
    for place, message in enumerate(state.under_way):
        rest = state.under_way[:place] + state.under_way[place + 1 :]
        yield state._replace(under_way=rest)  # lost
        for later in {"ask": take_request, "grant": take_grant, "return": take_return}[message[0]](
            state._replace(under_way=rest), message, rules
        ):
            yield later
            if message[0] == "return" and len(state.under_way) < 3:
                yield later._replace(under_way=(*later.under_way, message))  # duplicated


def pass_time(state, rules):
    if state.now < HORIZON:
        now = state.now + 1
        counts = (lambda moment: True) if rules["kind"] == "quota" else (lambda moment: moment >= now - WINDOW)
        yield state._replace(now=now, spends=tuple(filter(counts, state.spends)))


def act(state, replica):
    held = state.held[replica]
    if held is None:
        asks = sum(message[1] == replica for message in state.under_way)
        if not asks and len(state.under_way) < 2:
            yield state._replace(under_way=(*state.under_way, ("ask", replica, state.now)))
        return
    yield put(state, replica, None)  # crashed, or forgot the lease
    if len(state.under_way) < 2:
        told = ("return", replica, held.lease, held.available, held.spent, state.now)
        yield put(state, replica, None)._replace(under_way=(*state.under_way, told))


def spend(state, replica):
    held = state.held[replica]
    if held is None or not held.available or not held.start <= state.now < held.deadline:
        return
    spent = held._replace(available=held.available - 1, spent=state.now)
    yield put(state, replica, spent)._replace(spends=(*state.spends, state.now))


def take_request(state, message, rules):
    _, replica, sent = message
    wish = Wish(Acquisition("1:a", 2, waiting=2), us(state.now), 2, read(replica, sent, rules))
    grant = state.limit.give(wish, ROWS[rules["kind"]])
    if not grant.units:
        yield state
        return
    number = state.last + 1
    start, end = -tick(2 * EPOCH_US - grant.start_us), tick(grant.ends_us)  # never sooner, never later
    row = (number, replica, grant.units, grant.bucket)
    by_clock = sent - -grant.wait_us // TICK_US if grant.wait_us else 0
    answer = ("grant", replica, number, grant.units, start - state.now, by_clock, end - state.now, sent)
    yield state._replace(
        limit=grant.state, leases=(*state.leases, row), under_way=(*state.under_way, answer), last=number
    )


def take_grant(state, message, rules):
    _, replica, number, units, wait, by_clock, left, sent = message
    if state.held[replica] is None:
        since = sent if rules["counts_from_send"] else state.now
        start = max(state.now + wait if wait else 0, by_clock)
        yield put(state, replica, Held(number, units, start, since + left, -1))


def take_return(state, message, rules):
    _, replica, number, unspent, spent, sent = message
    row = next((row for row in state.leases if row[0] == number), None)
    if row is None and rules["returns_once"]:
        return
    units, bucket = (row[2], row[3]) if row else (unspent, newest(state.limit))
    ago_us = (sent - spent) * TICK_US if spent >= 0 else None
    told = leases.spent_before(Return(str(number), 0, ago_us, exact=True), read(replica, sent, rules))
    refund = Refund(bucket, min(unspent, units), units - min(unspent, units), ago_us, told)
    if not rules["returns_once"]:
        refund = Refund(newest(state.limit), unspent, 0)
    limit = state.limit.take_back(refund, ROWS[rules["kind"]], now_us=us(state.now))
    kept = tuple(row for row in state.leases if row[0] != number or not rules["returns_once"])
    yield state._replace(limit=limit, leases=kept)


def newest(limit):
    """Return the bucket of the units granted last."""
    ends = getattr(limit, "ends", None)
    return limit.head if ends is None else max(ends, default=0)


def put(state, replica, held):
    return state._replace(held=tuple(held if place == replica else one for place, one in enumerate(state.held)))


def read(replica, now, rules):
    """Return a replica's clock reading."""
    return ClockReading("a host", CLOCK_US + (now if rules["reads_one_clock"] else now + 3 * replica) * TICK_US)


def us(now):
    return EPOCH_US + now * TICK_US


def tick(moment_us):
    return (moment_us - EPOCH_US) // TICK_US


def worst(**rules):
    """Return the most spends in any window or period, and the number of states."""
    rules = {"kind": "strict", "counts_from_send": True, "returns_once": True, "reads_one_clock": True} | rules
    fullest = fullest_period if rules["kind"] == "quota" else fullest_window
    first = State(0, kinds.load(ROWS[rules["kind"]] | EMPTY), (), (None, None), (), (), 0)
    seen, front, most = {first}, [first], 0
    while front:
        state = front.pop()
        most = max(most, fullest(state.spends))
        if most > LIMIT:
            break
        for later in successors(state, rules):
            if later.last <= LEASES[rules["kind"]] and later not in seen:
                seen.add(later)
                front.append(later)
    return most, len(seen)


def fullest_period(spends):
    """Return the most spends in the period before its end, or in the one after it."""
    before = sum(moment < PERIOD_END for moment in spends)
    return max(before, len(spends) - before)


def fullest_window(spends):
    """Return the most spends in any closed interval as long as the window."""
    return max((sum(until - WINDOW <= moment <= until for moment in spends) for until in spends), default=0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ROWS)
def test_no_order_of_events_exceeds_the_limit(kind):
    most, states = worst(kind=kind)
    assert most == LIMIT
    assert states > 10_000


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        *[("strict", "counts_from_send"), ("strict", "returns_once"), ("strict", "reads_one_clock")],
        *[("quota", "counts_from_send"), ("quota", "returns_once")],
    ],
)
def test_known_defects_are_detected(kind, broken):
    assert worst(kind=kind, **{broken: False})[0] > LIMIT
