import json
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.commands import calls
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.mark.usefixtures("used")
def test_calls_are_listed(run):
    span = ("--account", "acme", "--from", "2026-05-20", "--to", "2026-05-21")
    assert len(run("calls", "list", *span).splitlines()) == 101
    (call,) = json.loads(run("calls", "list", *span, "--status", "5xx", "-o", "json"))["calls"]
    assert call["model"] == "[red]odd[/red]"
    assert len(run("calls", "list", *span, "--limit", "700", "-q").split()) == 700


def test_new_calls_are_followed(connection, make_event):
    now = datetime.now(UTC)

    def add(number):
        event = make_event(time_us=round((now + timedelta(seconds=number)).timestamp() * 1e6), status=200 + number)
        backfill.write_history(connection, [event], PublicPrices(), spool=str(number))

    pages = []

    def send(method, path, query, body):
        found = connection.execute(
            "SELECT id::text, status FROM event WHERE time >= %s ORDER BY time DESC", (query["from"],)
        )
        pages.append(query)
        return 200, json.dumps({"calls": found.fetchall(), "next": None}).encode()

    followed = calls._follow(Api(send), {"account": "acme"}, wait=lambda _: add(len(pages)))
    assert [next(followed)["status"] for _ in range(3)] == [201, 202, 203]
