import csv
import io
from datetime import timedelta

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.public_prices import PublicPrices

RPM = {"name": "rpm", "unit": "request", "amount": 60, "window_s": 60}
MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 1000, "period": "month"}


@pytest.fixture
def call(client, operator):
    def call(method, path, document=None, *, status=200, headers=operator):
        answer = client.open(path, method=method, json=document, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    return call


@pytest.fixture
def account(call):
    call("POST", "/v1/plans", {"id": "free", "name": "Free", "limits": [RPM, MONTHLY]}, status=201)
    return call("POST", "/v1/accounts", {"name": "Acme", "plan": "free"}, status=201)


@pytest.fixture
def key(call, account):
    return call("POST", f"/v1/accounts/{account['id']}/keys", {"name": "prod"}, status=201)["key"]


@pytest.fixture
def walk(call):
    def walk(path, name):
        """Return all rows of a list, read one per page."""
        page = call("GET", f"{path}?limit=1")
        rows = page[name]
        while page["next"] is not None:
            page = call("GET", f"{path}?limit=1&after={page['next']}")
            rows += page[name]
        return rows

    return walk


@pytest.fixture
def get(client, operator, connection, metered, make_event, noon):
    """`get(path, **query)` queries, as operator, the three days in which two accounts made 50 calls."""
    events = [make_event(-number * 3_600) for number in range(48)]
    events += [make_event(-7_200, key="acme-test", model="=2+5", status=500, input_tokens=None)]
    events += [make_event(-60, account="beta", key="beta-live", model=None)]
    backfill.write_history(connection, events, PublicPrices(), spool="test")

    def get(path, **given):
        times = {"from": noon - timedelta(days=3), "to": noon + timedelta(hours=1)}
        shown = {name: value.isoformat() for name, value in times.items()} | given
        return client.get(path, query_string=shown, headers=operator)

    return get


@pytest.fixture
def get_csv(get):
    def get_csv(path, **given):
        answer = get(path, format="csv", **given)
        assert answer.content_type == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.text)))

    return get_csv


@pytest.fixture
def tagged(connection, make_event, metered):
    """Three more calls, for two end users."""
    events = [
        make_event(-60, tag="alice"),
        make_event(-60, tag="a,b", key="acme-test"),
        make_event(-7_200, tag="alice"),
    ]
    backfill.write_history(connection, events, PublicPrices(), spool="tags")
