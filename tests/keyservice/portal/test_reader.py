"""Times and numbers are formatted by the reader's preferences, or else by the browser's."""

from datetime import UTC, datetime

import pytest

from keygauge_keyservice.keys import keys


@pytest.fixture
def dated(connection, customer):
    keys.change(connection, customer.key.id, actor="test", expires_at=datetime(2030, 1, 31, 20, 30, tzinfo=UTC))
    return f"/keys/{customer.key.id}"


def save(signed_in, **form):
    return signed_in.post("/password/preferences", form, page="/password")


def test_zone_and_format_are_saved_for_the_member(signed_in, dated):
    assert "31 Jan 2030, 20:30 UTC" in signed_in.get(dated).text
    assert save(signed_in, zone="Asia/Kathmandu", locale="de").status_code == 303
    page = signed_in.get(dated).text
    assert "01.02.2030, 02:15 UTC+05:45" in page
    assert "Times are in Asia/Kathmandu" in page
    save(signed_in, zone="", locale="")
    assert "31 Jan 2030, 20:30 UTC" in signed_in.get(dated).text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"hours": "12"}, "31 Jan 2030, 8:30 PM UTC"),
        ({"hours": "24", "locale": "en_US"}, "Jan 31, 2030, 20:30 UTC"),
        ({"hours": "12", "locale": "de"}, "31.01.2030, 8:30 PM UTC"),
        ({"hours": "13"}, "31 Jan 2030, 20:30 UTC"),
    ],
)
def test_clock_has_twelve_or_twenty_four_hours_by_preference(signed_in, dated, form, text):
    save(signed_in, **form)
    assert text in signed_in.get(dated).text.replace("\u202f", " ")


def test_percentages_are_formatted_for_the_reader(app, signed_in, customer, record):
    record(customer, {"status": 500}, {}, {})
    save(signed_in, locale="de")
    page = signed_in.get("/usage?from=2026-05-19&to=2026-05-21").text
    assert "33,3%" in page
    assert "33.3%" not in page


def test_browser_decides_without_preferences(signed_in, dated):
    signed_in.client.set_cookie("keygauge_zone", "America/New_York")
    page = signed_in.get(dated, headers={"Accept-Language": "en-US,en;q=0.9"}).text.replace("\u202f", " ")
    assert "Jan 31, 2030, 3:30 PM EST" in page


@pytest.mark.parametrize("zone", ["Nowhere/Else", "../etc/passwd", "UTC+5"])
def test_unknown_zone_is_rejected_in_a_form_and_ignored_in_a_cookie(signed_in, dated, zone):
    answer = save(signed_in, zone=zone)
    assert (answer.status_code, "Enter an IANA time zone" in answer.text) == (422, True)
    signed_in.client.set_cookie("keygauge_zone", zone)
    assert "31 Jan 2030, 20:30 UTC" in signed_in.get(dated).text
