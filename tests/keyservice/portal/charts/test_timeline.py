from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.metric import METRICS
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.usage import Point

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
GROUPS = (("one", "One", "tone-1"), ("two", "Two", "tone-2"))
COUNT = st.integers(0, 1000)


def point(place, requests, *names):
    return Point(start=NOON + timedelta(hours=place), requests=requests, names=names)


@given(st.lists(st.tuples(COUNT, COUNT, COUNT), min_size=1, max_size=24))
def test_groups_and_other_add_up_to_the_total(counts):
    points = [point(place, sum(parts)) for place, parts in enumerate(counts)]
    grouped = [
        point(place, amount, name)
        for place, parts in enumerate(counts)
        for name, amount in zip(("one", "two"), parts, strict=False)
        if amount
    ]
    layers = timeline.layers_of(METRICS["requests"], points, grouped, GROUPS)
    assert [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)] == [*map(sum, counts)]
    assert [layer.name for layer in layers] == ["One", "Two"] + ["Other"] * any(other for *_, other in counts)


def test_averages_are_not_stacked_by_group():
    [layer] = timeline.layers_of(METRICS["latency"], [point(0, 1)], [point(0, 1, "one")], GROUPS)
    assert layer.name == "Average latency"


@pytest.mark.parametrize("bucket", get_args(Bucket))
def test_each_bucket_has_a_title_and_a_chart(bucket):
    assert "20" in timeline.title(NOON, bucket, ZoneInfo("Europe/Berlin"))
    assert "svg" in timeline.draw_metric("requests", METRICS["requests"], [point(0, 1)], bucket, zone=ZoneInfo("UTC"))


def test_title_has_the_time_and_its_zone():
    assert timeline.title(NOON, "hour", ZoneInfo("Europe/Berlin")).startswith("Wed 20 May 2026, 14:00 ")
    assert timeline.title(NOON, "month", ZoneInfo("UTC")).startswith("May 2026 ")


def test_without_points_there_is_no_chart():
    assert timeline.draw_metric("requests", METRICS["requests"], [], "day", zone=ZoneInfo("UTC")) == ""
    assert "<svg" in timeline.draw_metric("requests", METRICS["requests"], [point(0, 3)], "day", zone=ZoneInfo("UTC"))
