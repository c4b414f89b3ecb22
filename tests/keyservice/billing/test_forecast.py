from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.billing.forecast import find_forecast, month_of
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.usage.live_rates import find_live_rates

pytestmark = pytest.mark.usefixtures("metered")

DAY = 86_400


def test_the_forecast_extends_the_last_weeks_average(connection, make_event, noon):
    def price(event):
        return Cost(event.input_tokens * 1000, "test")

    events = [make_event(-number * DAY - 3_600, input_tokens=100 + number) for number in range(25)]
    backfill.write_history(connection, events, price, spool="test")
    found = find_forecast(connection, "acme", now=noon)
    this_month = [event.input_tokens * 1000 for event in events if event.time_us >= found.start.timestamp() * 1e6]
    week = sum((100 + number) * 1000 for number in range(7))
    assert found.so_far_nanousd == sum(this_month)
    assert found.pace_nanousd == week // 7
    left_days = (found.end - noon) / timedelta(days=1)
    assert found.expected_nanousd == found.so_far_nanousd + int(week / 7 * left_days)
    assert find_forecast(connection, "beta", now=noon).expected_nanousd == 0


def test_the_first_instant_of_a_month_has_a_forecast(connection):
    start = datetime(2026, 12, 1, tzinfo=UTC)
    assert month_of(start) == (start, datetime(2027, 1, 1, tzinfo=UTC))
    assert find_forecast(connection, None, now=start).expected_nanousd == 0


def test_live_rates_count_the_last_minute_and_each_rates_window(connection, make_event, noon):
    rates = [
        ("rpm", "request", 60),
        ("tph", "token", 3600),
        ("tph_in", "input_token", 3600),
        ("tpm_out", "output_token", 60),
    ]
    for name, unit, window_s in rates:
        connection.execute(
            "INSERT INTO plan_limit (plan_id, name, unit, amount, window_s) VALUES ('ledger', %s, %s, 1000, %s)",
            (name, unit, window_s),
        )
    events = [make_event(-seconds) for seconds in (1, 59, 61, 3599, 3601)]
    events.append(make_event(-2, outcome="limited", status=429))
    backfill.write_history(connection, events, lambda _: None, spool="test")
    live = find_live_rates(connection, "acme", now=noon)
    assert (live.requests_per_minute, live.tokens_per_minute) == (2, 600)
    used = {rate.name: rate.used for rate in live.rates}
    assert (used["rpm"], used["tph"], used["tph_in"], used["tpm_out"]) == (2, 1200, 400, 400)
    assert {rate.amount for rate in live.rates} == {1000}


def test_a_rate_for_a_route_or_model_counts_only_its_calls(connection, make_event, noon):
    for name, route, model in (("all", None, None), ("chat", "/v1/chat/completions", None), ("mini", None, "mini")):
        connection.execute(
            "INSERT INTO plan_limit (plan_id, name, unit, amount, window_s, route, model) "
            "VALUES ('ledger', %s, 'request', 10, 60, %s, %s)",
            (name, route, model),
        )
    events = [make_event(-1), make_event(-2, route="/v1/other"), make_event(-3, route="/v1/other", model="mini")]
    backfill.write_history(connection, events, lambda _: None, spool="test")
    live = find_live_rates(connection, "acme", now=noon)
    assert {rate.name: rate.used for rate in live.rates} == {"all": 3, "chat": 1, "mini": 1}


def test_a_keys_live_rates_include_only_rates_that_apply_to_it(connection, make_event, noon):
    connection.execute(
        "INSERT INTO plan_limit (plan_id, key_id, name, subject, unit, amount, window_s) VALUES "
        "('ledger', NULL, 'of all', 'account', 'request', 100, 60), "
        "('ledger', NULL, 'of each', 'key', 'request', 50, 60), "
        "(NULL, 'acme-test', 'its own', 'key', 'token', 5, 60), (NULL, 'acme-live', 'a sister', 'key', 'token', 5, 60)"
    )
    events = [make_event(-1), make_event(-2, key="acme-test"), make_event(-3, key="acme-test")]
    backfill.write_history(connection, events, lambda _: None, spool="test")
    live = find_live_rates(connection, "acme", key_id="acme-test", now=noon)
    assert (live.requests_per_minute, live.tokens_per_minute) == (2, 600)
    assert {rate.name: rate.used for rate in live.rates} == {"of each": 2, "its own": 600}
