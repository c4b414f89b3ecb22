from concurrent.futures import ThreadPoolExecutor

from keygauge.call import Call
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.usage import Usage

HOUR_NS = 3_600_000_000_000


def call(hour, usage=None):
    made = Call(method="POST", ip=None, time_ns=500_000 * HOUR_NS + hour * HOUR_NS + 5, started_ns=0)
    made.usage = usage
    return made


def hour_s(hour):
    return (500_000 + hour) * 3_600


def test_calls_are_counted_by_hour_of_arrival():
    totals = HourlyCounts()
    for made in (call(1, Usage(10, 3)), call(0), call(1, Usage(None, 4)), call(1, Usage(5, None))):
        totals.add(made)
    assert totals.changed() == {hour_s(0): (1, 0, 0), hour_s(1): (3, 15, 7)}


def test_a_part_of_a_call_counts_tokens_and_no_request():
    totals, part = HourlyCounts(), call(0, Usage(5, 1))
    part.outcome = "part"
    for made in (call(0, Usage(10, 3)), part):
        totals.add(made)
    assert totals.changed() == {hour_s(0): (1, 15, 4)}


def test_reported_hours_are_reported_again_only_if_changed():
    totals = HourlyCounts()
    totals.add(call(0))
    totals.add(call(1))
    told = totals.changed()
    totals.add(call(1))  # while the report is being sent
    totals.mark_reported(told)
    assert totals.changed() == {hour_s(1): (2, 0, 0)}
    totals.mark_reported(totals.changed())
    assert totals.changed() == {}


def test_flood_without_a_reader_keeps_a_bounded_queue():
    totals = HourlyCounts()
    for _ in range(10_000):
        totals.add(call(0))
    assert len(totals._waiting) < 5_000
    assert totals.changed() == {hour_s(0): (10_000, 0, 0)}


def test_clock_jumps_use_bounded_memory():
    totals = HourlyCounts()
    for hour in range(3_000):
        totals.add(call(hour))
        totals.mark_reported(totals.changed())
    assert len(totals._hours) == len(totals._reported) == 1_000


def test_concurrent_adds_lose_no_call():
    totals = HourlyCounts()

    def add(_):
        for _ in range(5_000):
            totals.add(call(0, Usage(2, 1)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(8)))
    assert totals.changed() == {hour_s(0): (40_000, 80_000, 40_000)}
