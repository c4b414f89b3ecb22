"""Refused events are not lost: they are set aside with the reason, and can be ingested later."""

import json
from datetime import timedelta

import pytest

from keygauge_keyservice import jobs
from keygauge_keyservice.ledger import aside, ingest
from keygauge_keyservice.ledger.event import LINE_BYTES_MAX, Refusal
from keygauge_keyservice.ledger.plausible import Bounds
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.sync import service_keys

pytestmark = pytest.mark.usefixtures("metered")

PRICE = PublicPrices()


@pytest.fixture
def take(connection, noon):
    connection.autocommit = True

    def take(lines, *, first=0, **options):
        options = {"service": "shop", "now": noon + timedelta(hours=1)} | options
        return ingest.take_batch(connection, "a1", first, lines, PRICE, **options)

    return take


@pytest.fixture
def look_up(connection):
    def look_up(*keys, service="shop"):
        service_keys.add(connection, service, keys)

    return look_up


def events(connection):
    return connection.execute("SELECT count(*) AS events FROM event").fetchone()["events"]


def test_usage_of_keys_that_the_service_never_looked_up_is_set_aside(connection, take, look_up, make_line):
    look_up("acme-live")
    look_up("beta-live", service="search")
    lines = [make_line(), make_line(1, account="beta", key="beta-live"), make_line(2, key="acme-test")]
    receipt = take(lines)
    assert (receipt.next, receipt.accepted) == (3, 1)
    assert receipt.refused == ((1, Refusal.KEY_NOT_LOOKED_UP), (2, Refusal.KEY_NOT_LOOKED_UP))
    counted = [(row["service"], row["reason"], row["key_id"], row["events"]) for row in aside.count(connection)]
    assert counted == [("shop", "key_not_looked_up", key, 1) for key in ("acme-test", "beta-live")]
    assert take(lines).refused == ()  # a repeated batch sets nothing aside again
    assert len(aside.count(connection)) == 2


def test_implausible_usage_is_set_aside(take, look_up, make_line):
    look_up("acme-live")
    bounds = Bounds(event=1_000)
    large = [make_line(output_tokens=901), make_line(1, details={"images": 1_001})]
    assert [reason for _, reason in take(large, bounds=bounds).refused] == [Refusal.IMPLAUSIBLE_EVENT] * 2
    many = [make_line(2 + number / 1_000, output_tokens=900) for number in range(150)]
    receipt = take([*many, make_line(9, input_tokens=0, output_tokens=0, cache_read_tokens=0)], first=2, bounds=bounds)
    assert (receipt.accepted, {reason for _, reason in receipt.refused}) == (101, {Refusal.IMPLAUSIBLE_BATCH})


def test_the_largest_contexts_of_models_are_plausible(take, look_up, make_line):
    look_up("acme-live")
    assert take([make_line(number, input_tokens=10_000_000) for number in range(100)]).accepted == 100


def test_unreadable_lines_are_kept_unchanged(connection, take):
    receipt = take([b"nonsense", b"x" * 100_000, json.dumps(["\0"]).encode()])
    assert receipt.accepted == 0
    kept = connection.execute("SELECT number, reason, line, key_id FROM event_aside ORDER BY number").fetchall()
    assert [(row["number"], row["reason"]) for row in kept] == [
        (0, "bad_json"),
        (1, "line_too_long"),
        (2, "wrong_length"),
    ]
    assert (kept[0]["line"], len(kept[1]["line"]), kept[0]["key_id"]) == (b"nonsense", LINE_BYTES_MAX + 1, None)


def test_the_number_of_events_set_aside_is_bounded_and_logged(connection, take, monkeypatch, caplog):
    monkeypatch.setattr(aside, "MOST", 3)
    take([b"nonsense"] * 5)
    assert sum(row["events"] for row in aside.count(connection)) == 3
    assert "2 refused events were not kept" in caplog.text


def test_events_set_aside_are_ingested_once_the_service_looks_up_their_key(connection, take, look_up, make_line):
    take([make_line(number) for number in range(3)])
    assert (events(connection), aside.find_now_known(connection)) == (0, [])
    look_up("acme-live")
    todo = [job for job in jobs.maintenance_jobs(retention_days=400) if job.name == "retake"]
    assert jobs.do_due(connection, todo) == ["retake"]
    assert (events(connection), aside.count(connection)) == (3, [])
    requests = connection.execute("SELECT sum(requests)::int AS n FROM rollup").fetchone()["n"]
    hours = connection.execute("SELECT sum(requests)::int AS n FROM spool_hour WHERE spool_id = 'a1'").fetchone()["n"]
    assert (requests, hours, ingest.find_cursor(connection, "a1")) == (3, 3, 3)


@pytest.fixture
def retake(connection):
    def retake(**options):
        todo = [job for job in jobs.maintenance_jobs(retention_days=400, **options) if job.name == "retake"]
        connection.execute("DELETE FROM job")
        assert jobs.do_due(connection, todo) == ["retake"]

    return retake


def test_implausible_usage_is_not_accepted_by_looking_up_its_key_later(connection, take, look_up, make_line, retake):
    bounds = Bounds(event=1_000)
    receipt = take(
        [make_line(output_tokens=901), *(make_line(number, output_tokens=900) for number in range(150))], bounds=bounds
    )
    assert {reason for _, reason in receipt.refused} == {Refusal.KEY_NOT_LOOKED_UP}
    look_up("acme-live")
    retake(bounds=bounds)
    assert events(connection) == 100
    counted = [(row["reason"], row["key_id"], row["events"]) for row in aside.count(connection)]
    assert counted == [("implausible_batch", "acme-live", 50), ("implausible_event", "acme-live", 1)]


def test_a_service_cannot_take_the_room_of_another_ones_events(
    connection, take, look_up, make_line, monkeypatch, retake
):
    monkeypatch.setattr(aside, "MOST", 3)
    take([b"nonsense"] * 5, service="search")
    take([make_line(number) for number in range(3)], first=5)
    look_up("acme-live")
    retake()
    assert events(connection) == 3


def test_an_event_that_cannot_be_stored_does_not_block_the_others(connection, take, look_up, make_line, retake):
    take([make_line(number, input_tokens=number) for number in range(20)])
    look_up("acme-live")
    connection.execute("ALTER TABLE event ADD CONSTRAINT odd CHECK (input_tokens <> 13) NOT VALID")
    retake()
    assert events(connection) == 19
    assert [(row["reason"], row["events"]) for row in aside.count(connection)] == [("unstorable", 1)]


def test_internal_events_may_use_any_key(connection, take, make_line):
    assert take([make_line()], service=None).accepted == 1
    assert take([b"nonsense"], first=1, service=None).refused == ((1, Refusal.BAD_JSON),)
    assert aside.count(connection) == []
