from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.ledger.replicas import replica_check, replica_counts
from keygauge_keyservice.ledger.replicas.replica_counts import Hour, Report
from keygauge_keyservice.pricing.public_prices import PublicPrices

PRICE = PublicPrices()
AT_ONCE = timedelta(0)
SINCE = datetime(2026, 5, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def take(connection, make_event):
    """Let the ledger take the events of some numbers of a spool; all of them are of the hour after noon."""

    def take(spool, first, count):
        events = [make_event(number, input_tokens=10, output_tokens=1) for number in range(first, first + count)]
        ingest.take_events(connection, spool, first, events, PRICE)

    return take


@pytest.fixture
def report(connection, noon):
    def report(spool, requests, written=None, hour=0, tokens=None):
        hours = (Hour(int(noon.timestamp()) + hour * 3600, requests, *(tokens or (requests * 10, requests))),)
        made = Report(spool, "f0", "shop", "h1", requests if written is None else written, hours if requests else ())
        replica_counts.keep(connection, made, now=noon)

    return report


def found(connection):
    return [
        (one.spool, one.reported[0], one.taken[0])
        for one in replica_check.find_differences(connection, SINCE, grace=AT_ONCE)
    ]


def test_what_agrees_is_no_difference(connection, take, report):
    take("a", 0, 5)
    report("a", 5)
    assert found(connection) == []
    check = replica_check.check(connection, SINCE, grace=AT_ONCE)
    assert (check.requests, check.missing_requests, check.surplus_requests) == (5, 0, 0)
    assert replica_check.find_check(connection) == check


def test_absurd_reports_stop_no_comparison(connection, noon):
    most = 2**53 - 1
    hours = tuple(Hour(int(noon.timestamp()) - hour * 3600, most, most, most) for hour in range(24))
    for spool in range(50):
        replica_counts.keep(connection, Report(f"{spool:x}", "f0", "shop", "h1", 0, hours), now=noon)
    check = replica_check.check(connection, SINCE, grace=AT_ONCE)
    assert (check.requests, check.missing_requests, check.missing_tokens) == (2**63 - 1,) * 3
    assert replica_check.count_reported(connection, SINCE, grace=AT_ONCE) == 2**63 - 1


def test_an_hour_is_compared_when_it_has_not_changed_for_the_grace(connection, take, report):
    take("a", 0, 5)
    report("a", 7)
    assert replica_check.find_differences(connection, SINCE, grace=timedelta(minutes=2)) == []
    connection.execute("UPDATE spool_hour SET taken_at = taken_at - interval '3 min'")
    assert replica_check.find_differences(connection, SINCE, grace=timedelta(minutes=2)) == []
    connection.execute("UPDATE spool_hour SET written = 5, reported_at = reported_at - interval '3 min'")
    assert len(replica_check.find_differences(connection, SINCE, grace=timedelta(minutes=2))) == 1


def test_events_on_their_way_are_waiting_for_a_day(connection, take, report):
    take("a", 0, 5)
    report("a", 9)
    assert found(connection) == []
    row = connection.execute("SELECT waiting_requests FROM replica_check").fetchone()
    assert row["waiting_requests"] == 4
    connection.execute("UPDATE spool_hour SET reported_at = reported_at - interval '25 hours'")
    assert found(connection) == [("a", 9, 5)]
    take("a", 5, 4)
    assert found(connection) == []


def test_dropped_events_are_missing_though_their_spool_has_nothing_left(connection, take, report):
    take("a", 0, 5)
    report("a", 8, written=5)  # three never got into the spool
    assert found(connection) == [("a", 8, 5)]
    check = replica_check.check(connection, SINCE, grace=AT_ONCE)
    assert (check.missing_requests, check.missing_tokens, check.surplus_requests) == (3, 33, 0)


def test_refused_events_are_missing(connection, make_event, report):
    ingest.take_events(connection, "a", 0, [make_event(0, key="stranger"), make_event(1)], PRICE)
    report("a", 2, tokens=(200, 400))
    assert found(connection) == [("a", 2, 1)]


def test_wrong_tokens_alone_are_a_difference(connection, take, report):
    take("a", 0, 5)
    report("a", 5, tokens=(50, 9))
    assert found(connection) == [("a", 5, 5)]
    assert replica_check.check(connection, SINCE, grace=AT_ONCE).missing_tokens == 4


def test_a_killed_process_tells_no_last_figures_and_that_is_no_surplus(connection, take, report):
    take("a", 0, 5)
    report("a", 5)
    take("a", 5, 3)  # another process found these on disk
    take("b", 0, 3)  # and this one was killed before its first report
    assert found(connection) == []


def test_what_the_ledger_has_twice_is_surplus(connection, take, report):
    take("a", 0, 8)
    report("a", 5)  # reported after the batch, and still says five
    assert found(connection) == [("a", 5, 8)]
    check = replica_check.check(connection, SINCE, grace=AT_ONCE)
    assert (check.surplus_requests, check.surplus_tokens, check.missing_requests) == (3, 33, 0)


def test_processes_do_not_make_up_for_each_other(connection, take, report):
    take("a", 0, 6)
    report("a", 5)
    take("b", 0, 5)
    report("b", 6, written=5)
    assert found(connection) == [("a", 5, 6), ("b", 6, 5)]


def test_metrics_tell_the_newest_check(connection, take, report, client, replica):
    def sample(line):
        return line in client.get("/metrics", headers=replica).text.splitlines()

    assert "keygauge_ledger_drift_requests{" not in client.get("/metrics", headers=replica).text
    take("a", 0, 5)
    report("a", 8, written=5)
    replica_check.check(connection, SINCE, grace=AT_ONCE)
    assert sample('keygauge_ledger_drift_requests{reason="missing"} 3.0')
    assert sample("keygauge_ledger_compared_requests 8.0")
