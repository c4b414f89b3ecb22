import csv
import re
from datetime import UTC, datetime
from html import unescape
from urllib.parse import urlencode

import pytest

from keygauge.tag import OTHER
from keygauge_keyservice.csv_stream import cell
from keygauge_keyservice.keys import keys

RANGE = "from=2026-05-19&to=2026-05-21"
LIMITED = {"status": 429, "outcome": "limited", "limit": "rpm", "model": None, "input_tokens": None} | {
    "output_tokens": None,
    "cache_read_tokens": None,
}


def tiles(page):
    return dict(
        re.findall(r"<dt>(?:<a [^>]*>)?([^<]+)(?:</a>)?</dt><dd><span class=\"number\"[^>]*>([^<]+)</span>", page)
    )


def rows(answer):
    return list(csv.DictReader(answer.text.splitlines()))


def test_totals_cover_the_range(signed_in, customer, record):
    record(customer, {"input_tokens": 1_200_000}, {"status": 500}, LIMITED)
    shown = tiles(signed_in.get(f"/usage?{RANGE}").text)
    assert shown["Requests"] == "3"
    assert shown["Tokens"] == "1.2M"
    assert shown["Error rate"] == "33.3%"
    assert "No usage" in signed_in.get("/usage?from=2026-05-22&to=2026-05-23").text


def test_cost_is_rounded_exactly_and_unknown_prices_are_shown(signed_in, customer, record):
    record(customer, {"model": "gpt-4o-mini", "input_tokens": 1_000_000, "cache_read_tokens": 0, "output_tokens": 0})
    page = signed_in.get(f"/usage?{RANGE}").text
    assert tiles(page)["Estimated cost"] == "$0.1500"
    assert "at list prices" in page
    record(customer, {"model": "house-model", "provider": None})
    page = signed_in.get(f"/usage?{RANGE}").text
    assert tiles(page)["Estimated cost"] == "$0.1500"
    assert "no price for house-model" in page
    assert '<span class="faint">Price unknown</span>' in page


def test_cost_without_any_known_price_is_unknown_everywhere(signed_in, customer, record):
    record(customer, {"model": "house-model", "provider": None})
    page = signed_in.get(f"/usage?{RANGE}").text
    assert tiles(page)["Estimated cost"] == "Unknown"
    assert "no price for house-model" in page
    assert page.count('<span class="faint">Price unknown</span></td>') == 1


def test_breakdowns_show_models_endpoints_and_keys(signed_in, customer, record):
    record(customer, {"model": "gpt-4o-mini"}, {"model": "claude-sonnet-4-6", "route": "/v1/messages"}, LIMITED)
    texts_of = {
        "model": ("gpt-4o-mini", "claude-sonnet-4-6", "No model", "33.3%"),
        "endpoint": ("/v1/messages", "/v1/chat/completions"),
        "key": (customer.key.name,),
        "status": ("2xx", "4xx"),
    }
    for group, texts in texts_of.items():
        page = signed_in.get(f"/usage?{RANGE}&group={group}").text
        assert [text for text in texts if text not in page] == []


def test_usage_is_filtered_by_key(connection, signed_in, customer, record, settings):
    other, _ = keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="other", actor="test"
    )
    record(customer, {}, {})
    assert tiles(signed_in.get(f"/usage?{RANGE}&key={customer.key.id}").text)["Requests"] == "2"
    page = signed_in.get(f"/usage?{RANGE}&key={other.id}").text
    assert "No usage in this range" in page
    assert "with “other”" in page


def test_usage_of_deleted_keys_stays_visible(signed_in, customer, record):
    record(customer, {})
    signed_in.post(f"/keys/{customer.key.id}/delete")
    assert f"{customer.key.name} (deleted)" in signed_in.get(f"/usage?{RANGE}&group=key").text
    assert tiles(signed_in.get(f"/usage?{RANGE}&key={customer.key.id}").text)["Requests"] == "1"


def test_account_without_keys_is_invited_to_create_one(connection, signed_in, customer):
    keys.delete(connection, customer.key.id, actor="test")
    page = signed_in.get("/usage").text
    assert "No usage yet" in page
    assert "Create key" in page


def test_usage_of_another_account_is_not_shown(signed_in, stranger, record):
    record(stranger, {"model": "secret-model"})
    for page in (f"/usage?{RANGE}", f"/usage.csv?{RANGE}&table=model", f"/usage.csv?{RANGE}", f"/calls?{RANGE}", "/"):
        assert "secret-model" not in signed_in.get(page).text
    assert "No usage" in signed_in.get(f"/usage?{RANGE}").text
    assert all(row["requests"] == "0" for row in rows(signed_in.get(f"/usage.csv?{RANGE}")))


def test_invalid_range_is_a_notice_on_the_page_and_rejected_for_csv(signed_in):
    page = signed_in.get("/usage?from=2026-05-21&to=2026-05-20")
    assert page.status_code == 200
    assert "The start date must be before the end date." in page.text
    assert signed_in.get("/usage.csv?from=2026-05-21&to=2026-05-20").status_code == 422


@pytest.mark.parametrize("model", ["<script>alert(1)</script>", '"><svg onload=alert(1)>'])
def test_names_in_the_ledger_are_escaped(signed_in, customer, record, model):
    record(customer, {"model": model, "route": model, "error": model})
    for page in (f"/usage?{RANGE}", f"/calls?{RANGE}"):
        text = signed_in.get(page).text
        assert "<script>alert" not in text
        assert "<svg onload" not in text


def test_charts_have_no_inline_code_and_have_a_table(signed_in, customer, record):
    record(customer, {})
    page = signed_in.get(f"/usage?{RANGE}").text
    assert page.count('class="pygal-chart') == 2
    assert "<style" not in page
    assert " style=" not in page
    assert not re.search(r"<script(?! src=)", page)
    assert not re.search(r"\son\w+=", page)
    assert "View as table" in page
    assert "Wed 20 May 2026, 12:00 UTC" in page


@pytest.mark.parametrize(
    ("metric", "group"),
    [
        *(("requests", "none"), ("tokens", "model"), ("cost", "endpoint")),
        *(("errors", "key"), ("limited", "status"), ("latency", "model")),
    ],
)
def test_every_metric_is_drawn_as_bars_area_and_table(signed_in, customer, record, metric, group):
    record(customer, {}, {"model": "claude-sonnet-4-6", "route": "/v1/messages"}, {"status": 503}, LIMITED)
    page = signed_in.get(f"/usage?{RANGE}&metric={metric}&group={group}").text
    assert 'id="chart-usage-wide"' in page
    area = signed_in.get(f"/usage?{RANGE}&metric={metric}&group={group}&chart=area&bucket=day").text
    assert area.count('class="column"') == 2 * 3  # one per day, in both sizes
    table = signed_in.get(f"/usage?{RANGE}&metric={metric}&group={group}&chart=table").text
    assert ("pygal-chart" in table, "Usage over time" in table) == (False, True)


def test_groups_beyond_the_colours_are_summed_as_other(signed_in, customer, record):
    record(customer, *({"model": f"model-{number}"} for number in range(8)))
    page = signed_in.get(f"/usage?{RANGE}&group=model&chart=table&bucket=month").text
    table = page[page.index("Usage over time") :]
    assert re.findall(r'<th scope="col" class="num">([^<]+)</th>', table[: table.index("</thead>")])[-2:] == [
        "Other",
        "Total",
    ]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    assert re.findall(r'<td class="num">([^<]+)</td>', body) == ["1"] * 5 + ["3", "8"]


def test_totals_are_compared_with_the_previous_period(signed_in, customer, record):
    record(customer, {}, {}, {}, {"time_us": int(datetime(2026, 5, 17, 12, tzinfo=UTC).timestamp() * 1e6)})
    page = signed_in.get(f"/usage?{RANGE}").text
    assert ">+200%</span>" in page


def test_model_links_to_its_own_usage(signed_in, customer, record):
    record(customer, {}, {"model": "claude-sonnet-4-6"}, {"model": "claude-sonnet-4-6"})
    page = signed_in.get(f"/usage?{RANGE}&group=model").text
    address = re.search(r'<th scope="row"><a href="([^"]+)">claude-sonnet-4-6<', page)[1].replace("&amp;", "&")
    inside = signed_in.get(address).text
    assert tiles(inside)["Requests"] == "2"
    assert "Remove the filter model" in inside


def test_endpoint_links_to_its_own_usage(signed_in, customer, record):
    record(customer, {}, {"route": "/v1/messages"})
    page = signed_in.get(f"/usage?{RANGE}&group=endpoint").text
    address = re.search(r'<th scope="row"><a href="([^"]+)">/v1/messages<', page)[1].replace("&amp;", "&")
    inside = signed_in.get(address).text
    assert tiles(inside)["Requests"] == "1"
    assert "Remove the filter endpoint" in inside


def test_key_is_selected_by_name(signed_in, customer, record):
    record(customer, {})
    page = signed_in.get(f"/usage?{RANGE}&key=Acme+key").text
    assert tiles(page)["Requests"] == "1"
    assert 'value="Acme key"' in page


def test_forecast_is_for_the_selected_key(connection, signed_in, customer, record, settings):
    other, _ = keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="other", actor="test"
    )
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(customer, {"time_us": now_us, "input_tokens": 10_000_000, "cache_read_tokens": 0, "output_tokens": 0})
    assert "$1.50 this month" in signed_in.get("/usage?range=7d&metric=cost").text
    assert "$1.50 this month" in signed_in.get(f"/usage?range=7d&metric=cost&key={customer.key.id}").text
    assert "this month" not in signed_in.get(f"/usage?range=7d&metric=cost&key={other.id}").text


HOSTILE = ["=1+1", "a,b", "<script>alert(1)</script>", "O'Brien'; DROP TABLE event;--", 'say "x"', "日本"]


def test_grouping_by_tag_is_offered_only_if_there_are_tags(signed_in, customer, record):
    record(customer, {})
    assert 'value="tag"' not in signed_in.get(f"/usage?{RANGE}").text
    record(customer, {"tag": "alice"})
    assert 'value="tag"' in signed_in.get(f"/usage?{RANGE}").text


@pytest.mark.parametrize("tag", HOSTILE)
def test_usage_by_tag_escapes_names_and_links_to_each_tag(signed_in, customer, record, tag):
    record(customer, {"tag": tag}, {"tag": tag, "status": 500}, {"tag": "alice"}, {})
    page = signed_in.get(f"/usage?{RANGE}&group=tag").text
    assert "<script>alert" not in page
    assert "No tag" in page
    address = next(
        unescape(found)
        for found, name in re.findall(r'<th scope="row"><a href="(/usage[^"]+)">([^<]+)</a>', page)
        if unescape(name) == tag
    )
    narrowed = signed_in.get(address).text
    assert tiles(narrowed)["Requests"] == "2"
    assert customer.key.name in narrowed
    assert "<script>alert" not in narrowed
    table = rows(signed_in.get(f"/usage.csv?{RANGE}&table=tag"))
    assert {row["tag"]: row["requests"] for row in table} == {cell(tag): "2", "alice": "1", "": "1"}
    assert (
        signed_in.get("/usage.csv", query_string=urlencode({"table": "key", "tag": tag}) + f"&{RANGE}").status_code
        == 200
    )


def test_filters_that_tags_do_not_support_are_ignored(signed_in, customer, record):
    record(customer, {"tag": "alice"}, {"tag": "alice", "model": "other"}, {})
    assert tiles(signed_in.get(f"/usage?{RANGE}&tag=alice&model=other&group=status").text)["Requests"] == "2"
    assert signed_in.get(f"/usage?{RANGE}&group=tag&route=/x").status_code == 200
    assert signed_in.get(f"/usage.csv?{RANGE}&table=tag&model=other").status_code == 404
    assert signed_in.get(f"/usage.csv?{RANGE}&table=model&tag=alice").status_code == 404
    assert rows(signed_in.get(f"/usage.csv?{RANGE}&table=tag-time"))
    assert signed_in.get(f"/usage?{RANGE}&tag=nobody").status_code == 200


def test_other_tags_have_no_link(signed_in, customer, record):
    record(customer, {"tag": OTHER}, {"tag": "alice"})
    page = signed_in.get(f"/usage?{RANGE}&group=tag").text
    assert '<th scope="row">Other tags</th>' in page
    assert ">alice</a>" in page


def kind_rows(page):
    section = page[page.index('aria-labelledby="kinds"') :]
    return {
        title: (count, cost)
        for title, count, cost in re.findall(
            r'<th scope="row">([^<]+)</th><td class="num" data-name="Count">([^<]+)</td>.*?data-name="Cost">([^<]+)<',
            section,
        )
    }


def test_each_kind_of_token_is_shown_with_its_cost(signed_in, customer, record):
    record(
        customer,
        {"model": "gpt-4o", "input_tokens": 1_000_000, "cache_read_tokens": 400_000, "output_tokens": 100_000},
        {"model": "house-model", "provider": None, "input_tokens": 1_000, "cache_read_tokens": 0, "output_tokens": 0},
    )
    for group in ("none", "kind"):
        page = signed_in.get(f"/usage?{RANGE}&group={group}").text
        assert kind_rows(page) == {
            "Input tokens": ("601,000", "$1.50"),
            "Output tokens": ("100,000", "$1.00"),
            "Cached input tokens": ("400,000", "$0.5000"),
        }
        assert page.count('id="kinds"') == 1
    assert ">Cost per hour by kind<" in page
    legend = re.search(r'<ul class="legend">.*?</ul>', page).group()
    assert re.findall(r"</svg>([^<]+)</li>", legend) == ["Input tokens", "Output tokens", "Cached input tokens"]
    page = signed_in.get(f"/usage?{RANGE}&group=kind&metric=tokens").text
    assert "Tokens per hour by kind" in page
    for table, count in (("kind", 3), ("kind-time", 3)):
        exported = rows(signed_in.get(f"/usage.csv?{RANGE}&table={table}"))
        assert len(exported) >= count
        costs = {row["kind"]: row["cost_usd"] for row in exported if row["count"] != "0"}
        assert (costs["input"], costs["output"], costs["cache_read"]) == ("1.500000000", "1.000000000", "0.500000000")
    (row,) = [one for one in rows(signed_in.get(f"/usage.csv?{RANGE}&table=model")) if one["model"] == "gpt-4o"]
    assert (row["cache_read_cost_usd"], row["cost_usd"]) == ("0.500000000", "3.000000000")


def test_kinds_are_shown_without_prices(signed_in, customer, record):
    record(customer, {"model": "house-model", "provider": None, "output_tokens": 7})
    for metric in ("cost", "tokens", "requests"):
        page = signed_in.get(f"/usage?{RANGE}&group=kind&metric={metric}").text
        assert kind_rows(page)["Output tokens"][0] == "7"
    record(customer, LIMITED)
    assert "By kind" in signed_in.get(f"/usage?{RANGE}&group=kind&model=").text
