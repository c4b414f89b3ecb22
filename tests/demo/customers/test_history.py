"""The generated history is realistic, and the same each time."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from keygauge_demo.customers import history, profiles
from keygauge_demo.customers.seed import Seed
from keygauge_keyservice.ledger.event import Window, read_line

UNTIL = datetime(2026, 6, 18, 15, 40, tzinfo=UTC)  # a Thursday
NAMES = [key.name for account in profiles.ACCOUNTS for key in account.keys]
SEED = Seed(UNTIL, {name: name for name in NAMES}, dict.fromkeys(NAMES, "account"), {}, "")


@pytest.fixture(scope="module")
def events():
    return list(history.compose(SEED, until=UNTIL))


def day(event):
    return datetime.fromtimestamp(event.time_us / 1e6, UTC).date()


def test_it_covers_ninety_days_and_ends_now(events):
    times = [event.time_us / 1e6 for event in events]
    assert history.start_of(UNTIL).timestamp() <= min(times)
    assert UNTIL.timestamp() - 3600 < max(times) < UNTIL.timestamp()
    assert len({day(event) for event in events}) == history.DAYS + 1


def test_it_is_the_same_each_time(events):
    assert list(history.compose(SEED, until=UNTIL)) == events


def test_hours_are_in_order(events):
    hours = [event.time_us // 3_600_000_000 for event in events]
    assert all(before <= after for before, after in pairwise(hours))


def test_the_ledger_accepts_every_event(events):
    window = Window(0, int(UNTIL.timestamp() * 1e6))
    for event in events[::7]:
        assert read_line(json.dumps(event).encode(), window=window) == event


def test_office_keys_are_quiet_on_weekends(events):
    days = Counter(day(event) for event in events if event.key == "Research notebook")
    weekend = [count for date, count in days.items() if date.weekday() >= 5]
    week = [count for date, count in days.items() if date.weekday() < 5]
    assert max(weekend) < sum(week) / len(week)


def test_use_grows(events):
    days = Counter(day(event) for event in events if event.key == "Web app")
    first, last = (
        sum(days[UNTIL.date() - timedelta(days=ago)] for ago in span) for span in ((*range(83, 90),), range(1, 8))
    )
    assert last > 2 * first


def test_a_spike_stands_out_and_comes_from_a_new_address(events):
    gateway = [event for event in events if event.key == "Production gateway"]
    days = Counter(map(day, gateway))
    assert days.most_common(1)[0][0] == (UNTIL - timedelta(days=16)).date()
    assert {day(event) for event in gateway if event.ip == history.SPIKE_IP} == {days.most_common(1)[0][0]}


def test_one_key_keeps_failing_with_400_and_403(events):
    statuses = Counter(event.status for event in events if event.key == "Old CI pipeline")
    assert statuses[400] + statuses[403] > statuses[200]


def test_every_kind_of_answer_occurs(events):
    assert {event.status for event in events} == {200, 400, 403, 429, 500}


def test_no_month_exceeds_its_plan(events):
    quota = {plan.id: plan.requests_per_month for plan in profiles.PLANS}
    for account in profiles.ACCOUNTS:
        names = {key.name for key in account.keys}
        months = Counter(day(event).month for event in events if event.key in names and event.outcome == "admitted")
        assert max(months.values()) <= quota[account.plan], account.name


@pytest.mark.parametrize("rhythm", history._HOURS)
def test_shares_of_a_rhythm_add_up_to_one_day(rhythm):
    assert len(history._HOURS[rhythm]) == 24
    assert sum(history._HOURS[rhythm]) == pytest.approx(1, abs=0.08)
