from datetime import UTC, datetime

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices


def test_remarks_link_to_the_portal(call, connection, make_event, metered):
    now_us = round(datetime.now(UTC).timestamp() * 1e6)
    events = [make_event(time_us=now_us - 1_000, status=400) for _ in range(25)]
    assert call("GET", "/v1/accounts/acme/attention") == {"remarks": []}
    backfill.write_history(connection, events, PublicPrices(), spool="test")
    (alert,) = call("GET", "/v1/accounts/acme/attention")["remarks"]
    assert (alert["kind"], alert["key"]) == ("client_errors", "acme-live")
    assert "25 client errors (4xx)" in alert["text"]
    assert alert["portal_path"] == "/calls?key=acme-live&status=4xx&range=24h"
    assert call("GET", "/v1/accounts/beta/attention") == {"remarks": []}
    assert call("GET", "/v1/accounts/none/attention", status=404)["code"] == "account_not_found"
