import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.usage import call_log

RANGE = "from=2026-05-19&to=2026-05-21"


def times(page):
    return re.findall(r'<th scope="row"><a href="[^"]+"><time datetime="([^"]+)"', page)


def test_calls_are_listed_newest_first_with_their_details(signed_in, customer, record, noon):
    start_us = int(noon.timestamp() * 1_000_000)
    record(
        customer,
        {"time_us": start_us, "ip": "192.0.2.7"},
        {"time_us": start_us + 1_000_000, "status": 403, "error": "forbidden", "model": None, "input_tokens": None},
    )
    page = signed_in.get(f"/calls?{RANGE}").text
    assert times(page) == ["2026-05-20T12:00:01+00:00", "2026-05-20T12:00:00+00:00"]
    for text in (customer.key.name, "POST /v1/chat/completions", "192.0.2.7", "403", "forbidden", "120 ms"):
        assert text in page


def test_filters_narrow_the_log(signed_in, customer, record):
    failed = {"status": 500, "ip": "192.0.2.9", "model": "rare", "route": "/v1/rare"}
    record(customer, {}, failed, {"status": 429, "outcome": "limited", "limit": "rpm"})
    for query, count in (
        ("", 3),
        ("&status=5xx", 1),
        ("&status=429", 1),
        ("&status=4xx", 1),
        ("&ip=192.0.2.9", 1),
        ("&ip=+192.0.2.9+", 1),
        ("&model=rare", 1),
        ("&route=/v1/rare&model=rare", 1),
        ("&route=V1/RAR", 1),
        ("&model=ar", 1),
        ("&route=/v1/rar&exact=1", 0),
        ("&route=/v1/rare&exact=1", 1),
        ("&ip=192.0.2.", 3),
        ("&ip=192.0.2.&exact=1", 0),
        ("&ip=.9", 0),
        ("&ip=192.0.2.99", 0),
        (f"&key={customer.key.id}", 3),
    ):
        assert len(times(signed_in.get(f"/calls?{RANGE}{query}").text)) == count


def test_pages_contain_every_call_once(signed_in, customer, record, noon):
    start_us = int(noon.timestamp() * 1_000_000)
    record(customer, *({"time_us": start_us + number * 1_000_000} for number in range(120)))
    found, address = [], f"/calls?{RANGE}"
    while address:
        page = signed_in.get(address).text
        found += times(page)
        older = re.search(r'href="(/calls\?[^"]*after=[^"]*)">Older', page)
        address = older and older[1].replace("&amp;", "&")
    assert len(found) == len(set(found)) == 120
    assert found == sorted(found, reverse=True)


def test_rare_calls_are_searched_for_in_steps(signed_in, customer, record, noon, monkeypatch):
    monkeypatch.setattr(call_log, "_SCANNED_MAX", 20)
    start_us = int(noon.timestamp() * 1_000_000)
    record(customer, *({"time_us": start_us + number * 1_000_000} for number in range(1, 60)))
    record(customer, {"time_us": start_us, "ip": "192.0.2.9"})
    address, pages = f"/calls?{RANGE}&ip=192.0.2.9", 0
    while not times(page := signed_in.get(address).text):
        assert "No matching requests since 20 May 2026" in page
        address, pages = (
            re.search(r'href="(/calls\?[^"]*after=[^"]*)">Search older', page)[1].replace("&amp;", "&"),
            pages + 1,
        )
    assert pages == 2
    assert times(page) == [noon.isoformat()]


@pytest.mark.parametrize(
    "query", ["status=0xx", "status=%3Cscript%3E", "after=x", "after=1-1", f"ip={'1' * 99}", f"model={'m' * 600}"]
)
def test_invalid_filters_are_rejected_with_a_page(signed_in, query):
    answer = signed_in.get(f"/calls?{query}")
    assert answer.status_code == 422
    assert "<script>" not in answer.text


def test_calls_of_another_account_are_not_shown(signed_in, stranger, record):
    record(stranger, *[{"ip": "198.51.100.9"}] * 60)
    assert "198.51.100.9" not in signed_in.get(f"/calls?{RANGE}").text
    assert signed_in.get(f"/calls?key={stranger.key.id}").status_code == 404


def test_calls_of_a_deleted_key_keep_its_name(signed_in, customer, record):
    record(customer, {})
    signed_in.post(f"/keys/{customer.key.id}/delete")
    assert customer.key.name in signed_in.get(f"/calls?{RANGE}").text


@pytest.mark.parametrize(("requested", "is_shown"), [("alias", True), ("snapshot", False), (None, False)])
def test_requested_model_is_shown_if_another_one_answered(signed_in, customer, record, requested, is_shown):
    record(customer, {"model": "snapshot", "requested_model": requested})
    address = re.search(r'href="(/calls/[^"]+)"', signed_in.get(f"/calls?{RANGE}").text)[1]
    page = signed_in.get(address).text
    assert "<dt>Model</dt><dd>snapshot" in page
    assert ("<dt>Requested model</dt><dd>alias</dd>" in page) == ("Requested model" in page) == is_shown


def test_repeated_failures_are_summarized(signed_in, customer, record):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    failed = {"time_us": now_us, "status": 403, "error": "ip_not_allowed", "ip": "203.0.113.7"}
    record(customer, *[failed] * 12, {"time_us": now_us, "status": 500}, {"time_us": now_us})
    page = signed_in.get("/calls").text
    assert f"12 x 403 ip_not_allowed from 203.0.113.7 with “{customer.key.name}”" in page
    assert "x 500" not in page
    assert "Repeated failures" not in signed_in.get("/calls?status=5xx").text


def test_trace_id_links_to_the_configured_url(app, signed_in, customer, record, monkeypatch):
    record(customer, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)})
    address = re.search(r'href="(/calls/[^"]+)"', signed_in.get("/calls").text)[1]
    assert "https://" not in signed_in.get(address).text
    context = app.extensions["keygauge"]
    shown = replace(context.settings, trace_url="https://traces.example/{trace_id}?x=1")
    monkeypatch.setitem(app.extensions, "keygauge", replace(context, settings=shown))
    assert 'href="https://traces.example/0af7651916cd43dd8448eb211c80319c?x=1"' in signed_in.get(address).text


def test_tags_are_shown_and_filtered_if_there_are_any(signed_in, customer, record):
    record(customer, {"ip": "198.51.100.7"})
    assert ">Tag<" not in signed_in.get(f"/calls?{RANGE}").text
    record(customer, {"tag": "<b>O'Brien, x</b>", "ip": "198.51.100.8"}, {"tag": "alice", "ip": "198.51.100.9"})
    page = signed_in.get(f"/calls?{RANGE}").text
    assert "&lt;b&gt;O&#39;Brien, x&lt;/b&gt;" in page
    assert "<b>O" not in page
    assert page.count('data-name="Tag"') == signed_in.get(f"/calls?{RANGE}&live=1").text.count('data-name="Tag"') == 3
    narrowed = signed_in.get(f"/calls?{RANGE}&tag=brien,").text
    assert "198.51.100.8" in narrowed
    assert "198.51.100.7" not in narrowed
    assert "198.51.100.9" not in narrowed
    exact = signed_in.get(f"/calls?{RANGE}&tag=ali&exact=1").text
    assert "198.51.100.9" not in exact
    address = re.search(r'href="(/calls/[^"]+)"', signed_in.get(f"/calls?{RANGE}&tag=alice").text)[1]
    assert "<dt>Tag</dt>" in signed_in.get(address).text
    assert "alice" in signed_in.get(f"/calls.csv?{RANGE}&tag=alice").text
    assert signed_in.get(f"/calls?{RANGE}&tag={'x' * 129}").status_code == 422
