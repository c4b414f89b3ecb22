from datetime import timedelta

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.usage import call_log
from keygauge_keyservice.usage.usage import UsageError

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def logged(connection, make_event, noon):
    """Ingest 250 calls, in pairs at the same instant, over two months' partitions."""
    events = [make_event(-(number // 2) * 20_000, ip=f"192.0.2.{number % 5}") for number in range(250)]
    events[7] = events[7]._replace(status=429, outcome="limited", model=None, requested_model="gpt-4o-alias")
    events[8] = events[8]._replace(status=403, key="acme-test", route="/v1/messages", model="gpt-4o")
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    return {"account_id": "acme", "start": noon - timedelta(days=60), "end": noon + timedelta(days=1)}


@pytest.mark.parametrize("sort", ["-time", "time"])
def test_pages_form_the_complete_log_in_both_directions(connection, logged, sort):
    pages, after = [], None
    while True:
        page = call_log.find_page(connection, sort=sort, limit=30, after=after, **logged)
        pages.append(page)
        if page.next is None:
            break
        after = call_log.Place.parse(str(page.next))
    found = [call for page in pages for call in page.calls]
    assert [len(page.calls) for page in pages] == [30] * 8 + [10]
    assert len({call.id for call in found}) == 250
    assert found == sorted(found, key=lambda call: (call.time, call.id), reverse=sort == "-time")


def test_a_new_call_does_not_shift_later_pages(connection, logged, make_event):
    first = call_log.find_page(connection, limit=10, **logged)
    backfill.write_history(connection, [make_event(5)], PublicPrices(), spool="later")
    second = call_log.find_page(connection, limit=10, after=first.next, **logged)
    assert not {call.id for call in first.calls} & {call.id for call in second.calls}


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"status": "429"}, 1),
        ({"status": "4xx"}, 2),
        ({"key_id": "acme-test"}, 1),
        ({"route": "/v1/messages"}, 1),
        ({"model": "gpt-4o"}, 1),
        ({"model": "gpt-4o-alias"}, 1),
        ({"model": "4O-ALI", "is_partial": True}, 1),
        ({"ip": "192.0.2.3"}, 50),
        ({"account_id": "beta"}, 0),
        ({"ip": "192.0.2.3", "status": "403"}, 1),
    ],
)
def test_filters_select_calls(connection, logged, chosen, count):
    assert len(call_log.find_page(connection, limit=500, **{**logged, **chosen}).calls) == count


@pytest.mark.parametrize("sort", ["-time", "time"])
@pytest.mark.parametrize(
    "chosen", [{"ip": "192.0.2.3"}, {"status": "4xx"}, {"model": "none"}, {"key_id": "acme-test", "status": "403"}]
)
def test_a_page_scans_a_bounded_number_of_calls_and_the_next_continues(connection, logged, monkeypatch, chosen, sort):
    whole = call_log.find_page(connection, sort=sort, limit=500, **logged, **chosen).calls
    monkeypatch.setattr(call_log, "_SCANNED_MAX", 7)
    monkeypatch.setattr(call_log, "_SCANNED_OF_KEY_MAX", 7)
    found, after, pages = [], None, 0
    while pages == 0 or after:
        page = call_log.find_page(connection, sort=sort, limit=2, after=after, **logged, **chosen)
        found, after, pages = [*found, *page.calls], page.next, pages + 1
        assert len(page.calls) <= 2
    assert found == whole
    assert pages >= 250 // 7 or "key_id" in chosen


def test_a_call_has_all_its_fields(connection, logged, make_event):
    call = call_log.find_page(connection, limit=1, **{**logged, "ip": "192.0.2.0"}).calls[0]
    event = make_event()
    assert (call.route, call.status, call.input_tokens, call.limit_name) == (event.route, 200, 100, None)
    assert call.cost_nanousd == 90 * 150 + 10 * 75 + 200 * 600
    assert call.price_version.startswith("genai-prices")


def test_the_whole_log_is_read_in_chunks(app, logged, monkeypatch):
    monkeypatch.setattr(call_log, "_STREAM_PAGE", 60)
    assert len({call.id for call in call_log.read_all(app.extensions["keygauge"].connection, **logged)}) == 250


@pytest.mark.parametrize("status", ["x", "4", "099", "42x", "4xxx", "' OR 1"])
def test_an_invalid_status_is_rejected(connection, logged, status):
    with pytest.raises(UsageError, match="status"):
        call_log.find_page(connection, **logged, status=status)


@pytest.mark.parametrize("text", ["", "-", "1-2", "x-00000000000000000000000000000000", "9" * 30 + "-" + "0" * 32])
def test_an_invalid_position_is_rejected(text):
    with pytest.raises(UsageError, match="after"):
        call_log.Place.parse(text)
