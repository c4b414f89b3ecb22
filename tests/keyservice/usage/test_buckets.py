from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.usage.buckets import starts

UNUSUAL_ZONES = [
    "Atlantic/Azores",
    "America/Santiago",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
]
QUARTER = timedelta(minutes=15)


def local_name(moment, bucket):
    """Return the local name of a bucket; for hours with the UTC offset, since an hour may occur twice."""
    if bucket == "hour":
        return moment.replace(minute=0), moment.utcoffset()
    day = moment.date()
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[bucket]


@given(
    zone=st.sampled_from([*map(ZoneInfo, UNUSUAL_ZONES), timezone(timedelta(hours=-3))]),
    bucket=st.sampled_from(["hour", "day", "week", "month"]),
    begin=st.integers(0, 365 * 96),
    length=st.integers(1, 40 * 96),
)
def test_buckets_start_when_local_names_change(zone, bucket, begin, length):
    start = datetime(2026, 1, 1, tzinfo=UTC) + begin * QUARTER
    end = start + length * QUARTER
    names, moment = {}, start
    while moment < end:
        names.setdefault(local_name(moment.astimezone(zone), bucket), moment)
        moment += QUARTER
    found = starts(start, end, bucket, zone)
    assert found[0] <= start
    if bucket != "hour" or "Lord_Howe" not in str(zone):  # its clocks change by half an hour
        assert [max(start, one) for one in found] == list(names.values())


@pytest.mark.parametrize("bucket", ["day", "hour"])
def test_the_azores_have_a_day_of_25_hours(bucket):
    zone = ZoneInfo("Atlantic/Azores")
    found = starts(datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 26, 1, tzinfo=UTC), bucket, zone)
    assert len(found) == (1 if bucket == "day" else 25)
    assert found[0] == datetime(2026, 10, 25, tzinfo=UTC)
