from keygauge.clock import MS, SECOND
from keygauge.limits.spend_rate import SpendRate


def test_the_rate_covers_the_last_one_to_two_seconds():
    rate = SpendRate()
    for ms in range(0, 5000, 100):
        rate.look(ms, SECOND + ms * MS)
    assert 900 < rate.per_s(5000, 6 * SECOND) < 1100
    for ms in range(5000, 8000, 100):
        rate.look(5000, SECOND + ms * MS)
    assert rate.per_s(5000, 9 * SECOND) == 0


def test_frequent_looks_do_not_inflate_the_rate():
    rate = SpendRate()
    rate.look(0, 10 * SECOND)
    rate.look(0, 11 * SECOND)
    for ms in range(10):
        rate.look(ms, 11 * SECOND + ms * MS)
    assert rate.per_s(10, 11 * SECOND + 10 * MS) <= 10


def test_returned_units_make_no_negative_rate():
    rate = SpendRate()
    rate.look(1000, 10 * SECOND)
    rate.look(900, 11 * SECOND)
    assert rate.per_s(0, 12 * SECOND) == 0
