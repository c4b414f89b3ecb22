from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge.metrics import DURATION_BUCKETS_S
from keygauge_keyservice.ledger import backfill, packing, tags
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import UsageSums

PRICE = PublicPrices()
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"]
KEYS = [("acme", "acme-live"), ("acme", "acme-test"), ("beta", "beta-live")]
DAY = timedelta(days=1)

pytestmark = pytest.mark.usefixtures("metered")

calls = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(KEYS),
            "time_us": st.integers(0, 45 * 86_400 - 1).map(lambda s: (1_776_000_600 + s) * 1_000_000 + 7),  # April 2026
            "route": st.sampled_from(["/v1/chat/completions", "/v1/messages"]),
            "model": st.sampled_from([None, "gpt-4o", "gpt-4o-mini", "unknown-model"]),
            "status": st.sampled_from([200, 200, 400, 429, 500]),
            "outcome": st.sampled_from(["admitted", "limited", "quota", "forbidden"]),
            "duration_us": st.sampled_from([0, 5_000, 5_001, 40_000_000, 10**12]),
            "input_tokens": st.none() | st.integers(0, 10**9),
            "output_tokens": st.none() | st.integers(0, 10**9),
            "cache_read_tokens": st.none() | st.integers(0, 10**6),
            "tag": st.sampled_from([None, "alice", 'O\'Brien, "x"']),
        }
    ),
    min_size=1,
    max_size=25,
)


def sums_of(events):
    """Return the sums of events, computed in plain Python independently of the product's code."""
    counts = Counter()
    durations = [0] * (len(DURATION_BUCKETS_S) + 1)
    for event in events:
        counts["requests"] += 1
        limited = event.outcome in {"limited", "quota"}
        counts["limited"] += limited
        counts["client_errors"] += 400 <= event.status < 500 and not limited
        counts["server_errors"] += event.status >= 500
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "request_bytes", "response_bytes"):
            counts[name] += getattr(event, name) or 0
        cost = PRICE(event) or Cost(0, "")
        counts["cost_nanousd"] += cost.nanousd
        counts["kind_costs"] += cost.kind_costs
        counts["duration_us"] += event.duration_us
        bounds = [*DURATION_BUCKETS_S, float("inf")]
        durations[next(i for i, bound in enumerate(bounds) if event.duration_us / 1e6 <= bound)] += 1
    return UsageSums(**counts, duration_counts=tuple(durations))


def names_of(event, by):
    names = event._asdict() | {"model": event.model or "", "status": f"{event.status // 100}xx", "tag": event.tag or ""}
    return tuple(names[name] for name in by)


def plain(sums):
    return {name: getattr(sums, name) for name in UsageSums.__dataclass_fields__}


def added(all_sums):
    rows = [plain(sums) for sums in all_sums]
    total = {
        name: sum(row[name] for row in rows) for name in UsageSums.__dataclass_fields__ if name != "duration_counts"
    }
    counts = tuple(sum(column) for column in zip(*(row["duration_counts"] for row in rows), strict=True))
    return {**total, "duration_counts": counts or UsageSums().duration_counts}


@pytest.fixture
def write(connection, make_event):
    def write(calls):
        connection.execute("TRUNCATE event, rollup_recent, rollup_packed, usage_aggregate, usage_tag, spool")
        events = [
            make_event(**{**call, "account": call["key"][0], "key": call["key"][1]}, cache_write_tokens=None)
            for call in calls
        ]
        backfill.write_history(connection, events, PRICE, spool="test")
        packing.pack(connection, datetime.fromtimestamp(1_776_000_600, UTC) + 22 * DAY)  # half of the days
        return events

    return write


@given(
    calls=calls,
    zone=st.sampled_from(ZONES),
    bucket=st.sampled_from(["hour", "day", "week", "month"]),
    by=st.lists(st.sampled_from(["account", "key", "route", "model", "status"]), unique=True),
    account=st.sampled_from([None, "acme"]),
    narrowed=st.fixed_dictionaries(
        {},
        optional={
            "key_id": st.just("acme-live"),
            "route": st.just("/v1/messages"),
            "model": st.sampled_from(["gpt-4o", ""]),
        },
    ),
    start_h=st.integers(0, 40 * 24),
    length=st.integers(1, 45 * 96),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_totals_series_and_breakdowns_agree_with_sums_in_python(
    connection, write, calls, zone, bucket, by, account, narrowed, start_h, length
):
    events = write(calls)
    start = datetime.fromtimestamp(1_776_000_600, UTC) + timedelta(hours=start_h)
    end = start + length * timedelta(minutes=15)
    selection = {"account_id": account, "start": start, "end": end, **narrowed}
    selected = [
        event
        for event in events
        if account in {None, event.account}
        and narrowed.get("key_id", event.key) == event.key
        and narrowed.get("route", event.route) == event.route
        and narrowed.get("model", event.model or "") == (event.model or "")
        and start.timestamp() * 1e6 <= event.time_us < end.timestamp() * 1e6
    ]
    total = plain(usage.totals(connection, **selection))
    assert usage.cost(connection, **selection) == total["cost_nanousd"]
    assert total == plain(sums_of(selected))
    points = usage.series(connection, bucket=bucket, zone=zone, group_by=by, **selection)
    assert added(points) == total
    assert len({(point.start, point.names) for point in points}) == len(points)
    parts = usage.breakdown(connection, by=by, **selection)
    assert added(parts) == total
    for part in parts:
        assert added([point for point in points if point.names == part.names]) == plain(part)
        assert plain(part) == plain(sums_of([event for event in selected if names_of(event, by) == part.names]))


@given(
    calls=calls,
    zone=st.sampled_from(ZONES),
    bucket=st.sampled_from(["hour", "day", "week", "month"]),
    by=st.sampled_from([["tag"], ["key", "tag"], ["tag", "key"], ["account", "tag"], [], ["key"]]),
    account=st.sampled_from([None, "acme"]),
    narrowed=st.fixed_dictionaries({}, optional={"key_id": st.just("acme-live"), "tag": st.just("alice")}),
    start_h=st.integers(0, 40 * 24),
    length=st.integers(1, 45 * 96),
    limits=st.sampled_from([(10_000, False), (1, False), (2, True)]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_usage_by_tag_agrees_with_sums_in_python_even_if_folded(
    connection, write, monkeypatch, calls, zone, bucket, by, account, narrowed, start_h, length, limits
):
    most, is_folded = limits
    monkeypatch.setattr(tags, "MOST", most)
    events = write(calls)
    start = datetime.fromtimestamp(1_776_000_600, UTC) + timedelta(hours=start_h)
    end = start + length * timedelta(minutes=15)
    if is_folded:
        tags.fold(connection, datetime(2026, 4, 3, tzinfo=UTC), most=1)
    selection = {"account_id": account, "start": start, "end": end, **narrowed}
    selected = [
        event
        for event in events
        if account in {None, event.account}
        and narrowed.get("key_id", event.key) == event.key
        and start.timestamp() * 1e6 <= event.time_us < end.timestamp() * 1e6
    ]
    apart = most > 2 and not is_folded
    whole = [event for event in selected if narrowed.get("tag", event.tag) == event.tag]
    total = plain(usage.totals(connection, **selection))
    parts = usage.breakdown(connection, by=by, **selection)
    points = usage.series(connection, bucket=bucket, zone=zone, group_by=by, **selection)
    assert added(parts) == added(points) == total
    if "tag" not in narrowed or apart:
        assert total == plain(sums_of(whole))
    assert all(count >= 0 for part in parts for count in (part.requests, *part.duration_counts))
    ranked = usage.top(connection, by=by[0], most=100, **selection) if by else None
    assert ranked is None or added(ranked.parts) == total
    for part in parts:
        if apart or part.names == ("",) * len(by):
            assert plain(part) == plain(sums_of([event for event in whole if names_of(event, by) == part.names]))


@pytest.mark.parametrize("by", [["tag", "model"], ["status", "tag"]])
def test_usage_by_tag_rejects_other_dimensions_than_key(connection, by):
    selection = {
        "account_id": "acme",
        "start": datetime(2026, 5, 1, tzinfo=UTC),
        "end": datetime(2026, 6, 1, tzinfo=UTC),
    }
    with pytest.raises(usage.UsageError, match="by tag"):
        usage.breakdown(connection, by=by, **selection)
    with pytest.raises(usage.UsageError, match="by tag"):
        usage.totals(connection, tag="alice", model="gpt-4o", **selection)


def zones_that_differ(start, days):
    """Return one time zone for each distinct sequence of UTC offsets in those days."""
    zones = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        offsets = tuple((start + day * DAY).astimezone(zone).utcoffset() for day in range(days))
        zones.setdefault(offsets, name)
    return list(zones.values())


def test_buckets_in_every_time_zone_add_up_to_the_range(connection, make_event):
    start = datetime(2026, 3, 1, 0, 15, tzinfo=UTC)  # clocks change in these weeks, on different days
    count, step_s = 3_000, 40 * 60
    events = [make_event(time_us=round(start.timestamp() * 1e6) + n * step_s * 10**6) for n in range(count)]
    backfill.write_history(connection, events, PRICE, spool="test")
    selection = {"account_id": "acme", "start": start, "end": start + timedelta(seconds=count * step_s)}
    total = plain(usage.totals(connection, **selection))
    assert total["requests"] == count
    zones = zones_that_differ(start, 84)
    assert len(zones) > 50
    for zone in zones:
        points = usage.series(connection, bucket="day", zone=zone, **selection)
        assert added(points) == total, zone
        local = Counter(datetime.fromtimestamp(event.time_us / 1e6, ZoneInfo(zone)).date() for event in events)
        assert [point.requests for point in points if point.requests] == [local[day] for day in sorted(local)], zone


@given(calls=calls)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_roll_ups_are_the_sums_of_the_events(connection, write, calls):
    write(calls)
    row = connection.execute(
        "SELECT (SELECT count(*) FROM event) AS events, (SELECT sum(requests) FROM rollup) AS requests, "
        "(SELECT coalesce(sum(cost_nanousd), 0) FROM event) AS event_cost, "
        "(SELECT sum(cost_nanousd) FROM rollup) AS cost"
    ).fetchone()
    assert row["events"] == row["requests"] == len(calls)
    assert row["event_cost"] == row["cost"]


@pytest.mark.parametrize("zone", ZONES)
def test_days_start_at_local_midnight(connection, write, zone):
    write([{"key": KEYS[0], "time_us": 1_776_000_600_000_000}])
    start = datetime(2026, 3, 20, tzinfo=UTC)
    points = usage.series(connection, bucket="day", zone=zone, account_id="acme", start=start, end=start + 40 * DAY)
    local = [point.start.astimezone(ZoneInfo(zone)) for point in points]
    assert {(at.hour, at.minute) for at in local} == {(0, 0)}
    dates = [at.date() for at in local]
    assert dates == [dates[0] + number * DAY for number in range(len(dates))]
    assert len(dates) in {40, 41}


def test_the_repeated_hour_of_a_clock_change_is_two_buckets(connection, write):
    write([{"key": KEYS[0], "time_us": 1_776_000_600_000_000}])
    start = datetime(2025, 10, 26, 0, 0, tzinfo=UTC)
    points = usage.series(
        connection, bucket="hour", zone="Europe/Berlin", account_id=None, start=start, end=start + timedelta(hours=3)
    )
    assert [point.start for point in points] == [start + timedelta(hours=hour) for hour in range(3)]


def test_a_range_is_widened_to_quarters_of_an_hour(connection):
    at = datetime(2026, 5, 20, 12, 7, 30, tzinfo=UTC)
    total = usage.totals(connection, account_id=None, start=at, end=at + timedelta(minutes=10))
    assert (total.start.minute, total.end.minute) == (0, 30)
    assert (total.requests, total.error_rate, total.average_duration_s, total.percentile_s(0.5)) == (
        0,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zone": "Mars/Olympus"}, "unknown time zone"),
        ({"zone": "UTC+3"}, "unknown time zone"),
        ({"start": datetime(2026, 5, 1)}, "offset"),  # noqa: DTZ001 - the mistake
        ({"start": datetime(2026, 7, 1, tzinfo=UTC)}, "empty"),
        ({"start": datetime(1, 1, 1, tzinfo=UTC)}, "the range can be at most"),
        ({"bucket": "hour", "start": datetime(2020, 1, 1, tzinfo=UTC)}, "points"),
    ],
)
def test_an_invalid_query_says_what_to_change(connection, change, message):
    question = {"bucket": "day", "account_id": None, "end": datetime(2026, 6, 1, tzinfo=UTC)}
    with pytest.raises(usage.UsageError, match=message):
        usage.series(connection, **{**question, "start": datetime(2026, 5, 1, tzinfo=UTC), **change})


def test_figures_are_derived_from_the_sums():
    counts = [0] * (len(DURATION_BUCKETS_S) + 1)
    counts[5] = 90  # 75 to 100 ms
    counts[-1] = 10
    sums = UsageSums(requests=100, server_errors=2, input_tokens=300, output_tokens=100, cost_nanousd=1_500_000_000,
                  duration_us=50_000_000, duration_counts=tuple(counts))  # fmt: skip
    assert sums.tokens_per_request == 4
    assert sums.cost_nanousd == 1_500_000_000
    assert sums.error_rate == 0.02
    assert sums.average_duration_s == 0.5
    assert sums.percentile_s(0.5) == pytest.approx(0.075 + 0.025 * 50 / 90)
    assert sums.percentile_s(0.99) == 300


def test_averages_per_minute_are_over_the_whole_range(connection, write):
    write([{"key": KEYS[0], "time_us": 1_776_000_600_000_000 + number} for number in range(30)])
    start = datetime.fromtimestamp(1_776_000_600, UTC)
    total = usage.totals(connection, account_id="acme", start=start, end=start + timedelta(hours=1))
    assert (total.requests_per_minute, total.tokens_per_minute) == (0.5, 150.0)
