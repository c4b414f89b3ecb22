import msgspec
import pytest

from keygauge.key import digest
from keygauge.protocol import Heartbeat
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.sync.heartbeat import Received

PEPPERS = Peppers.parse("1:" + "33" * 32)
RPM = Limit(name="rpm", unit="request", amount=60, window_s=60)
EACH = Limit(name="each", unit="request", amount=5, period="day", subject="key")


@pytest.fixture
def made(connection):
    plans.create(connection, plan_id="pro", name="Pro", limits=[RPM, EACH], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")


@pytest.fixture
def send(connection):
    """Return a function that sends heartbeats together, given as (service, fields of the message)."""
    head = {"service": "api", "host": "a", "version": "0", "mode": "enforce"}

    def send(*sent):
        messages = [head | {"replica": f"{number:032x}"} | parts for number, (_, parts) in enumerate(sent)]
        received = [
            Received(msgspec.convert(message, Heartbeat), service)
            for message, (service, _) in zip(messages, sent, strict=True)
        ]
        with connection.transaction():
            return heartbeat.answer(connection, received, peppers=PEPPERS, prices=PriceBook(PublicPrices()))

    return send


def look_up(key, token):
    return {"look_up": [{"key": key.id, "digest": digest(token).hex()}]}


def test_a_changed_plan_is_sent_as_one_entry(connection, send, made):
    (first,) = send(("shop", look_up(*made)))
    plan = plans.replace_limits(connection, "pro", [RPM, EACH], actor="test")
    plans.set_providers(connection, "pro", ["/v1/chat=openai"], actor="test")
    (answer,) = send(("shop", {"cursor": first.cursor, "plans": True}))
    assert (answer.keys, answer.afresh, answer.cursor) == ([], False, first.cursor + 2)
    (told,) = answer.plans
    assert (told.id, told.providers) == ("pro", ["/v1/chat=openai"])
    assert [(limit.id, limit.whose) for limit in told.limits] == [
        (str(limit.id), whose) for limit, whose in zip(plan.limits, ("account", "plan"), strict=True)
    ]
    assert send(("shop", {"cursor": answer.cursor, "plans": True}))[0].plans == []


def test_a_service_receives_plans_of_which_it_knows_a_key(connection, send, made):
    (first, _) = send(("shop", look_up(*made)), ("search", {}))
    plans.replace_limits(connection, "pro", [RPM], actor="test")
    after = {"cursor": first.cursor, "plans": True}
    told = send(("shop", after), ("search", after), (None, after))
    assert [[plan.id for plan in answer.plans] for answer in told] == [["pro"], [], ["pro"]]


def test_a_replica_that_accepts_no_plans_receives_the_keys(connection, send, made):
    (first, _) = send(("shop", look_up(*made)), ("search", {}))
    plans.replace_limits(connection, "pro", [RPM], actor="test")
    after = {"cursor": first.cursor}
    shop, search, new = send(("shop", after), ("search", after), ("shop", after | {"plans": True}))
    assert [(entry.id, [limit.name for limit in entry.limits]) for entry in shop.keys] == [(made[0].id, ["rpm"])]
    assert (shop.plans, shop.afresh, search.keys, new.keys) == ([], False, [], [])


def test_a_replica_that_accepts_no_plans_starts_afresh_if_there_are_many_keys(connection, send, made, monkeypatch):
    monkeypatch.setattr(heartbeat, "_PLAN_KEYS_MAX", 1)
    (first,) = send(("shop", look_up(*made)))
    other = keys.create(connection, peppers=PEPPERS, account_id=made[0].account_id, name="dev", actor="test")
    (second,) = send(("shop", look_up(*other) | {"cursor": first.cursor}))
    plans.replace_limits(connection, "pro", [RPM], actor="test")
    (answer,) = send(("shop", {"cursor": second.cursor}))
    assert (answer.afresh, answer.keys, answer.cursor) == (True, [], second.cursor + 1)
