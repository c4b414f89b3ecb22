import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.values.durations import parse_duration, write_duration


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), (" 1h ", 3600), ("7d", 604_800), ("0s", 0)])
def test_durations_are_parsed(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5M", "1h30m", "٣m", "1" * 10 + "s"])
def test_invalid_durations_are_none(text):
    assert parse_duration(text) is None


@given(st.integers(0, 10**9 - 1))
def test_durations_round_trip(seconds):
    assert parse_duration(write_duration(seconds)) == seconds


def test_largest_unit_that_divides_evenly_is_written():
    assert [write_duration(one) for one in (0, 59, 60, 90, 3600, 7200, 86_400, 90_000)] == [
        *("0s", "59s", "1m", "90s", "1h", "2h", "1d", "25h")
    ]
