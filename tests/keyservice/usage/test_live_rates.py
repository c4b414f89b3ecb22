from datetime import timedelta

import pytest
from msgspec import structs

from keygauge.protocol import Heartbeat, OpenStreams
from keygauge.weights import Weights
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.limits import replicas
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage.live_rates import Streams, find_live_rates

RATES = [
    plans.Limit(name="rpm", unit="request", amount=60, window_s=60),
    plans.Limit(name="tph", unit="token", amount=9000, window_s=3600, model="gpt-4o-mini"),
    plans.Limit(name="each", unit="request", amount=5, window_s=60, subject="key"),
    plans.Limit(name="daily", unit="request", amount=5, period="day"),
]


@pytest.fixture
def now(connection, metered, make_line, noon):
    """Ingest calls of two keys in the last hour: three in the last minute, one refused, four failed, one older."""
    plans.replace_limits(connection, "ledger", RATES, actor="test")
    calls = [make_line(-1800, key="acme-test"), make_line(-1700, outcome="part", input_tokens=0, output_tokens=0)]
    calls += [make_line(-30), make_line(-20, key="acme-test"), make_line(-10, model="o3")]
    calls += [make_line(-5, status=429, outcome="limited", input_tokens=None, output_tokens=None)]
    calls += [make_line(-900 + second, status=500, error="ValueError") for second in range(4)]
    ingest.take_batch(connection, "a1", 0, calls, PublicPrices(), now=noon + timedelta(seconds=1))
    return noon


def test_an_accounts_calls_are_counted_in_each_rates_window(connection, now):
    live = find_live_rates(connection, "acme", now=now)
    assert (live.requests_per_minute, live.tokens_per_minute) == (3, 900)
    assert {rate.name: rate.used for rate in live.rates} == {"rpm": 3, "tph": 7 * 300}


def test_a_rate_counts_what_calls_reserved_and_no_answer_told(connection, now):
    connection.execute(
        "INSERT INTO limit_state (id, account_id, cells, ends) SELECT id || ':acme', 'acme', ARRAY[7000], "
        "ARRAY[(extract(epoch FROM clock_timestamp()) * 1000000)::bigint] FROM plan_limit WHERE name = 'tph'"
    )
    live = find_live_rates(connection, "acme", now=now)
    assert {rate.name: (rate.used, rate.remaining) for rate in live.rates} == {"rpm": (3, 57), "tph": (7_000, 2_000)}


def test_calls_before_a_rate_was_added_do_not_count_toward_it(connection, now):
    rates = [plans.Limit(name=name, unit="request", amount=60, window_s=s) for name, s in (("new", 3600), ("short", 9))]
    plans.replace_limits(connection, "ledger", rates, actor="test")
    connection.execute(
        "INSERT INTO limit_state (id, account_id, cells, ends) SELECT id || ':acme', 'acme', ARRAY[1], "
        "ARRAY[(extract(epoch FROM clock_timestamp()) * 1000000)::bigint] FROM plan_limit"
    )
    live = find_live_rates(connection, "acme", now=now - timedelta(seconds=890))
    assert {rate.name: (rate.used, rate.remaining) for rate in live.rates} == {"new": (1, 59), "short": (2, 58)}


def test_calls_refused_for_another_reason_are_not_counted(connection, metered, make_line, noon):
    plans.replace_limits(connection, "ledger", RATES, actor="test")
    outcomes = ["admitted", "forbidden", "expired", "revoked", "unavailable", "would_limit", "degraded", "part"]
    calls = [make_line(-30 + second, outcome=outcome) for second, outcome in enumerate(outcomes)]
    ingest.take_batch(connection, "a1", 0, calls, PublicPrices(), now=noon + timedelta(seconds=1))
    live = find_live_rates(connection, "acme", now=noon)
    assert {rate.name: rate.used for rate in live.rates} == {"rpm": 3, "tph": 4 * 300}


def test_a_rate_with_a_prefix_pattern_counts_matching_calls(connection, now):
    rates = [
        plans.Limit(name="four", unit="request", amount=60, window_s=3600, model="gpt-4o*"),
        plans.Limit(name="none", unit="request", amount=60, window_s=3600, model="gpt-5*"),
        plans.Limit(name="all", unit="request", amount=60, window_s=3600, route="/v1/*", model="*"),
    ]
    plans.replace_limits(connection, "ledger", rates, actor="test")
    live = find_live_rates(connection, "acme", now=now)
    assert {rate.name: rate.used for rate in live.rates} == {"four": 7, "none": 0, "all": 8}


def test_a_rate_in_a_weighted_unit_counts_by_its_weights(connection, now):
    weights = Weights(request=1000, input=1, output=1)
    rate = plans.Limit(name="ppm", unit="weighted", amount=9, window_s=60, weights=weights, unit_name="points")
    plans.replace_limits(connection, "ledger", [rate], actor="test")
    (found,) = find_live_rates(connection, "acme", now=now).rates
    assert (found.used, found.unit_name) == (3 * 1000 + 900, "points")


def test_a_keys_rates_count_only_its_own_calls(connection, now):
    live = find_live_rates(connection, "acme", key_id="acme-test", now=now)
    assert {rate.name: rate.used for rate in live.rates} == {"each": 1}
    assert find_live_rates(connection, "beta", key_id="acme-test", now=now).requests_per_minute == 0


def test_open_streams_come_from_the_latest_heartbeats(connection, now):
    def see(replica, *streams):
        return Heartbeat(
            replica=replica, service="api", host="a", version="0", mode="enforce", cursor=1, streams=list(streams)
        )

    def find(account, **scope):
        found = find_live_rates(connection, account, now=now, **scope).streams
        return (found.open, found.messages)

    other = OpenStreams("acme-test", open=1, oldest_ms=9_000, messages=4)
    replicas.see(connection, [see("r1", OpenStreams("acme-live", open=2, oldest_ms=60_000, messages=30), other)])
    replicas.see(connection, [see("r2", other), see("r3", OpenStreams("deleted", open=1, oldest_ms=0))])
    assert (find("acme"), find("acme", key_id="acme-test"), find("beta")) == ((4, 38), (2, 8), (0, 0))
    oldest_at = find_live_rates(connection, "acme", now=now).streams.oldest_at
    seen = connection.execute("SELECT seen_at FROM replica WHERE id = 'r1'").fetchone()["seen_at"]
    assert oldest_at == seen - timedelta(minutes=1)
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '10 seconds' WHERE id = 'r1'")
    replicas.see(connection, [see("r1")])
    assert find("acme") == (1, 4)
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '10 seconds'")  # as if the replicas were killed
    assert find_live_rates(connection, "acme", now=now).streams == Streams(0, None, 0)


def test_absurd_streams_are_cut(connection, now):
    absurd = OpenStreams("acme-live", open=2**53 - 1, oldest_ms=2**53 - 1, messages=2**53 - 1)
    claim = Heartbeat(
        replica="r1", service="api", host="a", version="0", mode="enforce", cursor=1, streams=[absurd] * 500
    )
    replicas.see(connection, [structs.replace(claim, replica=f"r{n}") for n in range(3)])
    found = find_live_rates(connection, "acme", now=now).streams
    assert (found.open, found.messages) == (2**63 - 1, 2**63 - 1)
    assert found.oldest_at < now - timedelta(days=36_000)
