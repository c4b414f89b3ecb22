"""Pages, sort orders and page size limits of every list in the API, found in the OpenAPI document."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts, invitations, members, plans, tokens
from keygauge_keyservice.app import API
from keygauge_keyservice.keys import keys
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.openapi import document
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.public_prices import PublicPrices

ITEMS = 3
NARROWED = {"/v1/prices/in-force": {"source": "own"}, "/v1/calls": {"account": "{account}"}}
RATES = (Rates(above=-1, input=1, output=1, cache_read=1, cache_write=1, reasoning=1, request=0),)


def lists():
    """Yield (path, name of the list, sorts, parameters) of each paginated operation."""
    described = document(API)
    for path, item in described["paths"].items():
        operation = item.get("get", {"responses": {"200": {"content": {"application/json": {"schema": {}}}}}})
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        answer = described["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
        fields = answer.get("properties", {})
        if "next" in fields:
            parameters = {one["name"]: one for one in operation["parameters"]}
            [name] = [field for field, kind in fields.items() if kind.get("type") == "array"]
            yield path, name, parameters.get("sort", {"schema": {"enum": [None]}})["schema"]["enum"], parameters


@pytest.fixture
def account(connection, settings, make_event):
    """An account with three objects of each kind, some with equal names and times."""
    for number in range(ITEMS):
        plans.create(connection, plan_id=f"plan{number}", name="Alike", limits=[], actor="test")
        made = accounts.create(connection, name="Alike", plan_id="plan0", actor="test")
    own = {"account_id": made.id, "actor": "test"}
    for number in range(ITEMS):
        key, _ = keys.create(connection, peppers=settings.peppers, name="Alike", **own)
        email = f"{number}@acme.example"
        members.create(connection, email=email, password="correct horse battery", **own)
        invitations.create(connection, email=f"new{number}@acme.example", role="viewer", **own)
        tokens.create(connection, kind="account", name="Alike", **own)
        channel = channels.create(connection, form="email", target=email, kinds=["quota"], **own)
        outbox.add_test(connection, account_id=made.id, channel_id=channel.id)
        own_prices.set_price(
            connection, model=f"m{number}", tiers=RATES, valid_from=datetime(2026, 1, 1, tzinfo=UTC), **own
        )
        connection.execute(
            "INSERT INTO invoice (account_id, period, plan_id, plan_nanousd, usage_nanousd, requests, input_tokens, "
            "output_tokens, closed_at) VALUES (%s, %s, 'plan0', 0, %s, 0, 0, 0, now())",
            (made.id, datetime(2026, 1 + number, 1, tzinfo=UTC), 5 * (number == 1)),
        )
    time_us = round((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1e6)
    events = [make_event()._replace(account=made.id, key=key.id, time_us=time_us) for _ in range(ITEMS)]
    ingest.take_events(connection, "ab" * 16, 0, events, PublicPrices())
    return made


@pytest.fixture
def read(client, operator, account):
    def read(path, **query):
        address = re.sub(r"{account_id}", account.id, path)
        given = {name: value.format(account=account.id) for name, value in NARROWED.get(path, {}).items()}
        return client.get(address, query_string=given | query, headers=operator)

    return read


def test_every_list_has_the_same_page_parameters():
    found = list(lists())
    assert len(found) >= 14
    for path, _, _, parameters in found:
        assert {"after", "limit"} <= parameters.keys(), path
        assert (parameters["limit"]["schema"]["minimum"], parameters["limit"]["schema"]["maximum"]) == (1, 500), path


def test_pages_contain_every_row_in_every_order(read):
    for path, name, sorts, _ in lists():
        for sort in sorts:
            query = {"sort": sort} if sort else {}
            whole = read(path, limit=500, **query).json
            assert len(whole[name]) >= ITEMS, path
            assert whole["next"] is None, path
            found, after = [], None
            while True:
                page = read(path, limit=2, **query, **({"after": after} if after else {})).json
                found += page[name]
                after = page["next"]
                if after is None:
                    break
            assert found == whole[name], (path, sort)
        for sort in sorts:
            if sort and not sort.startswith("-"):
                up, down = (read(path, limit=500, sort=one).json[name] for one in (sort, f"-{sort}"))
                assert down == up[::-1], (path, sort)


@pytest.mark.parametrize("path", ["/v1/calls", "/v1/audit", "/v1/billing", "/v1/accounts/{account_id}/deliveries"])
def test_logs_are_read_from_both_ends(path):
    [sorts] = [sorts for at, _, sorts, _ in lists() if at == path]
    assert {sort.removeprefix("-") for sort in sorts if sort} & {"time", "period", "created"}


def test_invalid_page_parameters_are_rejected(read):
    for path, _, sorts, _ in lists():
        for wrong in ({"limit": 0}, {"limit": 501}, {"limit": "x"}, {"after": "x" * 200}, {"page": 2}):
            assert read(path, **wrong).status_code == 422, (path, wrong)
        if sorts != [None]:
            assert read(path, sort="color").status_code == 422, path
        assert read(path, after="987654321").status_code in {200, 422}, path


@pytest.mark.parametrize(
    ("path", "query", "count"),
    [
        ("/v1/plans", {"name": "alike"}, 3),
        ("/v1/plans", {"name": "other"}, 0),
        ("/v1/accounts/{account_id}/members", {"email": "1@ACME.example"}, 1),
        ("/v1/accounts/{account_id}/members", {"role": "viewer"}, 0),
        ("/v1/accounts/{account_id}/invitations", {"email": "new1@acme.example"}, 1),
        ("/v1/accounts/{account_id}/keys", {"status": "disabled"}, 0),
        ("/v1/accounts/{account_id}/keys", {"name": "ALIKE"}, 3),
        ("/v1/prices", {"model": "M1"}, 1),
        ("/v1/prices", {"account": "nobody"}, 0),
        ("/v1/tokens", {"kind": "admin"}, 0),
        ("/v1/audit", {"actor": "nobody"}, 0),
        ("/v1/audit", {"action": "notification", "actor": "test", "from": "2026-01-01T00:00:00Z"}, 3),
        ("/v1/audit", {"to": "2020-01-01T00:00:00Z"}, 0),
        ("/v1/billing", {"account": "{account}", "status": "due"}, 1),
        ("/v1/billing", {"status": "paid"}, 0),
    ],
)
def test_filters_narrow_a_list(read, account, path, query, count):
    [name] = [one for at, one, _, _ in lists() if at == path]
    query = {field: value.format(account=account.id) for field, value in query.items()}
    assert len(read(path, **query).json[name]) == count


@pytest.mark.parametrize(
    "limit", ["0", "-1", "x", "501", "", "9" * 30, "000000001999999", "000000001" + "9" * 30, "+5", "5.0", "%C2%B2"]
)
def test_invalid_page_size_is_rejected(call, limit):
    assert call("GET", f"/v1/accounts?limit={limit}", status=422)["errors"][0]["field"] == "limit"
