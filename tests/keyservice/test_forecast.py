from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice import history
from keygauge_keyservice.forecast import find_forecast, month_of
from keygauge_keyservice.pace import find_pace
from keygauge_keyservice.pricing import Cost

pytestmark = pytest.mark.usefixtures("metered")

DAY = 86_400


def test_the_month_goes_on_at_the_last_weeks_pace(connection, make_event, noon):
    def price(event):
        return Cost(event.input_tokens * 1000, "test")

    events = [make_event(-number * DAY - 3_600, input_tokens=100 + number) for number in range(25)]
    history.write_history(connection, events, price, spool="test")
    found = find_forecast(connection, "acme", now=noon)
    this_month = [event.input_tokens * 1000 for event in events if event.time_us >= found.start.timestamp() * 1e6]
    week = sum((100 + number) * 1000 for number in range(7))
    assert found.so_far_nanousd == sum(this_month)
    assert found.pace_nanousd == week // 7
    left_days = (found.end - noon) / timedelta(days=1)
    assert found.expected_nanousd == found.so_far_nanousd + int(week / 7 * left_days)
    assert find_forecast(connection, "beta", now=noon).expected_nanousd == 0


def test_the_first_moment_of_a_month_has_a_forecast(connection):
    start = datetime(2026, 12, 1, tzinfo=UTC)
    assert month_of(start) == (start, datetime(2027, 1, 1, tzinfo=UTC))
    assert find_forecast(connection, None, now=start).expected_nanousd == 0


def test_the_pace_is_that_of_the_last_minute_and_of_each_rates_window(connection, make_event, noon):
    for name, unit, window_s in (("rpm", "request", 60), ("tph", "token", 3600)):
        connection.execute(
            "INSERT INTO plan_limit (plan_id, name, unit, amount, window_s) VALUES ('ledger', %s, %s, 1000, %s)",
            (name, unit, window_s),
        )
    events = [make_event(-seconds) for seconds in (1, 59, 61, 3599, 3601)]
    events.append(make_event(-2, outcome="limited", status=429))
    history.write_history(connection, events, lambda _: None, spool="test")
    pace = find_pace(connection, "acme", now=noon)
    assert (pace.requests_per_minute, pace.tokens_per_minute) == (2, 600)
    assert [(rate.name, rate.used, rate.amount) for rate in pace.rates] == [("rpm", 2, 1000), ("tph", 1200, 1000)]
