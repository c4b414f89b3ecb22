"""Account tokens: every operation of the API with another account's ids, and what a token may do in its own account."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts, members, plans, token_book, tokens
from keygauge_keyservice.app import API
from keygauge_keyservice.keys import key_limits, keys
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.notices import channels
from keygauge_keyservice.openapi import document
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.web import guess_throttle

PASSING = {"token", "idempotency"}  # tables that reading may write
NOTHING = {"account": "nobody000000", "key": "nothing00000", "plan": "no-plan", "token": "none00000000"}
NOTHING |= dict.fromkeys(("member", "notification", "invitation", "delivery"), 987_654)
FILTERS = {"account", "key", "plan", "subject"}
NOUNS = ("account", "key", "plan", "token")
CURSORS = {
    "/v1/plans": "plan",
    "/v1/accounts": "account",
    "/v1/keys": "key",
    "/v1/accounts/{account_id}/keys": "key",
    "/v1/tokens": "token",
}
QUESTIONS = {"queryUsage"}
BODIES = {
    "createKey": {"name": "stolen"},
    "changeKey": {"name": "stolen"},
    "replaceKeyLimits": {"limits": []},
    "rotateKey": {"rotation_id": "r1"},
    "createNotification": {"type": "webhook", "target": "https://hooks.example.com/", "events": ["invoice"]},
    "changeNotification": {"events": ["invoice"]},
    "queryUsage": {"groups": ["key", "model"]},
}


@dataclass(frozen=True)
class Owned:
    account: accounts.Account
    key: keys.Key
    secret: str
    ids: dict

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.secret}"}


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch):
    monkeypatch.setattr(token_book, "_FRESH_S", -1)


@pytest.fixture
def own(connection, settings, make_event):
    """`own(name)` creates an account with everything that an account can have, and an account token."""

    def own(name, scope="manage"):
        plan_id = f"plan-{name.lower()}"
        plans.create(connection, plan_id=plan_id, name=name, limits=[], actor="test")
        account = accounts.create(connection, name=name, plan_id=plan_id, actor="test")
        made = {"account_id": account.id, "actor": "test"}
        key, _ = keys.create(connection, peppers=settings.peppers, name=f"{name} key", **made)
        limit = Limit(name=f"rpm-{name.lower()}", unit="request", amount=5, window_s=60, subject="key")
        key_limits.replace(connection, key.id, [limit], actor="test")
        email = f"owner@{name.lower()}.example"
        member = members.create(connection, email=email, password="correct horse battery", **made)
        hook = f"https://hooks.{name.lower()}.example/"
        channel = channels.create(connection, form="webhook", target=hook, kinds=["quota"], **made)
        rates = (Rates(above=-1, input=1, output=1, cache_read=1, cache_write=1, reasoning=1, request=0),)
        now = datetime.now(UTC)
        own_prices.set_price(connection, model=f"{name}-model", tiers=rates, valid_from=now, **made)
        event = make_event()._replace(
            account=account.id, key=key.id, model=f"{name}-model", route=f"/{name}", time_us=int(now.timestamp() * 1e6)
        )
        ingest.take_events(connection, key.id.encode().hex().ljust(32, "0"), 0, [event], PublicPrices())
        token, secret = tokens.create(connection, kind="account", name=f"{name} token", scope=scope, **made)
        ids = {"account": account.id, "key": key.id, "plan": plan_id, "token": token.id, "member": member.id}
        return Owned(account, key, secret, ids | {"notification": channel.id, "invitation": 1, "delivery": "1"})

    return own


def operations():
    return [
        (method, path, one)
        for path, item in document(API)["paths"].items()
        for method, one in item.items()
        if one["security"] and one["operationId"] != "readMe"
    ]


def call(client, headers, method, path, operation, ids, **query):
    address = re.sub(r"{(\w+)_id}", lambda found: str(ids[found[1]]), path)
    body = BODIES.get(operation["operationId"], {}) if method in {"post", "put", "patch"} else None
    return client.open(address, method=method.upper(), headers=headers, json=body, query_string=query)


def state(connection):
    rows = connection.execute("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'").fetchall()
    names = [row["name"] for row in rows if row["name"] not in PASSING]
    revoked = connection.execute("SELECT id FROM token WHERE revoked_at IS NOT NULL").fetchall()
    return {"revoked": revoked} | {
        name: connection.execute(f'SELECT t::text FROM "{name}" AS t ORDER BY 1').fetchall() for name in names
    }


@pytest.mark.parametrize("scope", ["read", "manage"])
def test_nothing_of_another_account_is_revealed_or_changed(client, connection, own, scope):
    mine, theirs = own("Acme", scope), own("SECRET")
    before, walked = state(connection), 0
    for method, path, operation in operations():
        answers = [call(client, mine.headers, method, path, operation, ids) for ids in (theirs.ids, NOTHING)]
        assert all("SECRET" not in answer.text for answer in answers), (method, path)
        if "{" not in path:
            continue
        walked += 1
        assert {answer.status_code for answer in answers} in ({404}, {403}, {401}), (method, path)
        assert content(answers[0], theirs) == content(answers[1], theirs), (method, path)
    assert walked > 20
    assert state(connection) == before


def test_filters_and_cursors_do_not_reveal_whether_foreign_objects_exist(client, own):
    mine, theirs = own("Acme"), own("SECRET")
    walked = 0
    for method, path, operation in operations():
        if method != "get" or {"account": []} not in operation["security"]:
            continue
        names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        sorts = next((one["schema"]["enum"] for one in operation["parameters"] if one["name"] == "sort"), [None])
        tries = [
            (name, noun) for name in names & {"account", "key", "plan", "subject", "notification"} for noun in NOUNS
        ]
        tries += [("after", CURSORS[path])] if path in CURSORS else []
        for (name, noun), sort in product(tries, sorts):
            given = [{name: ids[noun], "sort": sort} for ids in (theirs.ids, NOTHING)]
            first, second = (call(client, mine.headers, method, path, operation, mine.ids, **one) for one in given)
            assert content(first, theirs) == content(second, theirs), (path, given[0])
            walked += 1
    assert walked > 100


@pytest.mark.parametrize("scope", ["read", "manage"])
def test_own_objects_are_read_with_any_scope_and_changed_with_manage(client, own, scope):
    mine, walked = own("Acme", scope), 0
    last = ("deleteKey", "deleteNotification", "revokeToken")
    for method, path, operation in sorted(operations(), key=lambda one: one[2]["operationId"] in last):
        if {"account": []} not in operation["security"]:
            continue
        is_write = method != "get" and operation["operationId"] not in QUESTIONS
        answer = call(client, mine.headers, method, path, operation, mine.ids)
        if is_write and scope == "read":
            assert (answer.status_code, answer.json["code"]) == (403, "token_scope"), (method, path)
        else:
            assert answer.status_code in {200, 201, 202, 204}, (method, path, answer.text)
        walked += 1
    assert walked > 20


def test_lists_contain_only_own_objects(client, own):
    mine = own("Acme")
    own("SECRET")
    assert [one["id"] for one in client.get("/v1/accounts", headers=mine.headers).json["accounts"]] == [mine.account.id]
    assert [one["id"] for one in client.get("/v1/keys", headers=mine.headers).json["keys"]] == [mine.key.id]
    assert [one["id"] for one in client.get("/v1/tokens", headers=mine.headers).json["tokens"]] == [mine.ids["token"]]
    assert client.get("/v1/usage", headers=mine.headers).json["totals"]["requests"] == 1
    assert len(client.get("/v1/calls", headers=mine.headers).json["calls"]) == 1
    question = {"groups": ["model"]}
    found = client.post("/v1/usage/query", json=question, headers=mine.headers).json["results"][0]["groups"]
    assert [one["group"] for one in found] == ["Acme-model"]
    rates = client.get("/v1/usage", query_string={"key": mine.key.id}, headers=mine.headers).json["pace"]["rates"]
    assert [rate["name"] for rate in rates] == ["rpm-acme"]
    prices = client.get("/v1/prices/in-force?source=own", headers=mine.headers).json["prices"]
    assert [price["model"] for price in prices] == ["acme-model"]


def test_changes_are_audited_with_the_token_name(client, connection, own):
    mine = own("Acme")
    made = client.post(f"/v1/accounts/{mine.account.id}/keys", json={"name": "batch"}, headers=mine.headers)
    assert (made.status_code, made.json["key"]["created_by"]) == (201, "account token Acme token")
    entry = client.get("/v1/audit?action=key.create&limit=1", headers=mine.headers).json["entries"][0]
    assert (entry["actor"], entry["subject"]) == ("account token Acme token", made.json["key"]["id"])
    used = connection.execute("SELECT last_used_at FROM token WHERE id = %s", (mine.ids["token"],)).fetchone()
    assert used["last_used_at"] is not None


def test_restrictions_set_by_an_operator_cannot_be_lifted(client, operator, own):
    mine = own("Acme")
    path, locked = f"/v1/keys/{mine.key.id}", {"code": "locked_by_operator"}
    limit = {"name": "daily", "unit": "request", "amount": 5, "period": "day", "subject": "key"}
    assert client.patch(path, json={"networks": ["10.0.0.0/8"], "limits": [limit]}, headers=operator).status_code == 200
    assert client.patch(path, json={"networks": []}, headers=mine.headers).json.items() >= locked.items()
    assert client.put(f"{path}/limits", json={"limits": []}, headers=mine.headers).json.items() >= locked.items()
    raised = {"limits": [{**limit, "amount": 6}]}
    assert client.patch(path, json=raised, headers=mine.headers).json.items() >= locked.items()
    client.patch(path, json={"status": "disabled"}, headers=operator)
    assert client.patch(path, json={"status": "active"}, headers=mine.headers).json.items() >= locked.items()
    assert client.patch(path, json={"name": "renamed"}, headers=mine.headers).status_code == 200


def test_token_is_invalid_once_revoked_expired_or_its_creator_leaves(client, connection, own):
    mine = own("Acme")

    def make(**options):
        given = {"kind": "account", "account_id": mine.account.id, "name": "ci", "actor": "ada@acme.example"} | options
        return tokens.create(connection, **given)

    def status(secret):
        return client.get("/v1/keys", headers={"Authorization": f"Bearer {secret}"}).status_code

    (token, revoked), (_, expired) = make(), make(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    _, of_member = make()
    assert [status(one) for one in (revoked, expired, of_member)] == [200, 401, 200]
    assert client.delete(f"/v1/tokens/{token.id}", headers=mine.headers).status_code == 204
    ada = members.create(
        connection, account_id=mine.account.id, email="ada@acme.example", password="correct horse battery", actor="test"
    )
    assert [status(one) for one in (revoked, of_member)] == [401, 200]
    members.remove(connection, mine.account.id, ada.id, actor="test")
    assert [status(one) for one in (of_member, mine.secret)] == [401, 200]


def test_member_who_becomes_a_viewer_loses_their_tokens(connection, own):
    mine = own("Acme")
    given = {"account_id": mine.account.id, "email": "ada@acme.example", "password": "correct horse battery"}
    ada = members.create(connection, role="member", actor="test", **given)
    tokens.create(connection, kind="account", account_id=mine.account.id, name="ci", actor=ada.email)
    members.set_role(connection, mine.account.id, ada.id, "viewer", actor="test")
    valid = tokens.list_tokens(connection, account_id=mine.account.id, only_valid=True)
    assert [token.name for token in valid] == ["Acme token"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"account": None}, "account"),
        ({"scope": "all"}, "scope"),
        ({"kind": "admin"}, "account"),
        ({"kind": "service", "scope": None}, "account"),
    ],
)
def test_invalid_token_is_rejected(client, operator, own, change, field):
    given = {"kind": "account", "name": "ci", "account": own("Acme").account.id, "scope": "read"} | change
    answer = client.post("/v1/tokens", json={k: v for k, v in given.items() if v is not None}, headers=operator)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json["errors"]}


def test_number_of_tokens_per_account_is_limited(client, operator, own, monkeypatch):
    monkeypatch.setattr(tokens, "PER_ACCOUNT_MAX", 2)
    given = {"kind": "account", "name": "ci", "account": own("Acme").account.id}
    assert [client.post("/v1/tokens", json=given, headers=operator).status_code for _ in range(2)] == [201, 422]
    assert client.post("/v1/tokens", json=given | {"account": "nobody"}, headers=operator).status_code == 404


def test_guessing_address_must_wait_and_others_need_not(client, own, monkeypatch):
    monkeypatch.setattr(guess_throttle, "PER_WINDOW", 3)
    monkeypatch.setattr(token_book, "_FRESH_S", -1)
    mine, late = own("Acme"), own("Umbrella")
    assert client.get("/v1/keys", headers=mine.headers).status_code == 200
    wrong = [{"Authorization": "Bearer kgo_invented"}, {"Authorization": "Bearer kgo_invented"}, {"X-Api-Key": "x"}]
    paths = ("/v1/keys", "/v1/keys", "/v1/me")
    statuses = [client.get(path, headers=headers).status_code for path, headers in zip(paths, wrong, strict=True)]
    assert statuses == [401] * 3
    refused = client.get("/v1/keys", headers=wrong[0])
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_wrong_tokens")
    assert 1 <= int(refused.headers["Retry-After"]) <= 11
    assert client.get("/v1/keys", headers=late.headers).status_code == 429
    assert client.get("/v1/keys", headers=mine.headers).status_code == 200  # it worked before
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert client.get("/v1/keys", headers=wrong[0], environ_overrides=elsewhere).status_code == 401
    assert client.get("/v1/keys", headers=mine.headers, environ_overrides=elsewhere).status_code == 200


def content(answer, theirs):
    """Return the status and text of a response, with the requested ids masked."""
    text = f"{answer.status_code} {answer.text}"
    for given in sorted({*map(str, theirs.ids.values()), *map(str, NOTHING.values())}, key=len, reverse=True):
        text = text.replace(f"'{given}'", "ID")
    return text
