from datetime import UTC, datetime, timedelta

import click
import pytest

from keygauge_keyservice.commands.terminal.options import Duration, Money, Time


def convert(kind, text):
    return kind.convert(text, None, None)


def test_times_are_converted_to_utc():
    assert convert(Time(), "2030-01-31") == "2030-01-31T00:00:00+00:00"
    assert convert(Time(), "2030-01-31T12:00:00Z") == "2030-01-31T12:00:00+00:00"
    assert convert(Time(), "2030-01-31T12:00:00+02:00") == "2030-01-31T10:00:00+00:00"


def test_duration_is_relative_to_now():
    for is_past, sign in ((False, 1), (True, -1)):
        time = datetime.fromisoformat(convert(Time(is_past=is_past), "7d"))
        assert abs(time - datetime.now(UTC) - sign * timedelta(days=7)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "text", ["", "soon", "2030-13-01", "2030-01-31T12:00:00", "999999999d", "0001-01-01T00:00:00+23:00"]
)
def test_invalid_time_is_rejected(text):
    with pytest.raises(click.BadParameter):
        convert(Time(), text)


@pytest.mark.parametrize("text", ["20300131", "2030-W05-4", "20300131T120000Z", "2030-01-31T", "2030-01-31x"])
def test_dates_are_only_read_as_documented(text):
    with pytest.raises(click.BadParameter, match="is not a time: use one such as 2030-01-31"):
        convert(Time(), text)


def test_durations_and_money_are_parsed_exactly():
    assert (convert(Duration(), "5m"), convert(Duration(), 60)) == (300, 60)
    assert [convert(Money(), text) for text in ("$2.50", "2.5", "0", "0.000000001", "$1,000,000")] == [
        *(2_500_000_000, 2_500_000_000, 0, 1, 10**15)
    ]
    for kind, texts in ((Duration(), ("", "5", "-5m")), (Money(), ("", "x", "-1", "1000001", "0.0000000001"))):
        for text in texts:
            with pytest.raises(click.BadParameter):
                convert(kind, text)
