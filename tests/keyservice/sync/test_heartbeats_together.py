"""Many replicas answered in one transaction, each as if it were alone, without granting any limit twice."""

import msgspec
import psycopg
import pytest

from keygauge.key import digest
from keygauge.protocol import Heartbeat
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.kinds.concurrency import LIFE_US
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.sync.heartbeat_queue import HeartbeatQueue

PEPPERS = Peppers.parse("1:" + "33" * 32)
LIMITS = [
    plans.Limit(name="rpm", unit="request", amount=60, window_s=3600),
    plans.Limit(name="daily", unit="request", amount=1000, period="day"),
    plans.Limit(name="even", unit="request", amount=4000, window_s=60, smooth=True),
    plans.Limit(name="slots", unit="concurrent", amount=5),
]


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=LIMITS, actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def limits(connection, account):
    """Return the ids of the limits by name."""
    return {limit.name: f"{limit.id}:{account.id}" for limit in plans.require(connection, "free").limits}


def received(number, *, service=None, **parts):
    head = {"replica": f"{number:032x}", "service": "a", "host": "h", "version": "0", "mode": "enforce", "cursor": None}
    return Received(msgspec.convert(head | parts, Heartbeat), service)


@pytest.fixture
def send(connection):
    """Return a function that sends heartbeats in one transaction: (heartbeats) -> the answers."""

    def send(*heartbeats):
        with connection.transaction():
            prices = PriceBook(PublicPrices())
            answers = heartbeat.answer(connection, heartbeats, peppers=PEPPERS, prices=prices, lock_timeout_ms=300)
        return msgspec.to_builtins(answers)

    return send


def units(answers, limit):
    return [grant["units"] for answer in answers for grant in answer["grants"] if grant["limit"] == limit]


@pytest.mark.parametrize(("name", "amount"), [("rpm", 60), ("daily", 1000), ("slots", 5)])
def test_concurrent_requests_do_not_exceed_the_limit(send, limits, name, amount):
    ask = {"acquire": [{"limit": limits[name], "units": 400, "waiting": 400}]}
    answers = send(*(received(number, **ask) for number in range(30)))
    assert sum(units(answers, limits[name])) == amount
    assert any(answer["denials"] for answer in answers)
    assert {answer["replicas"] for answer in answers} == {30}
    assert units(send(*(received(number, **ask) for number in range(30))), limits[name]) == []


def test_a_smooth_rate_applies_to_all_together(send, limits):
    ask = {"acquire": [{"limit": limits["even"], "units": 4000, "waiting": 4000}]}
    assert sum(units(send(*(received(number, **ask) for number in range(30))), limits["even"])) <= 4000


def test_each_replica_gets_its_own_answer(send, limits):
    first, second, third = send(
        received(1, acquire=[{"limit": limits["daily"], "units": 3, "waiting": 3}]),
        received(2),
        received(3, acquire=[{"limit": limits[name], "units": 2, "waiting": 2} for name in ("daily", "slots")]),
    )
    assert [(grant["limit"], grant["units"]) for grant in first["grants"]] == [(limits["daily"], 3)]
    assert second["grants"] == []
    assert {grant["limit"]: grant["units"] for grant in third["grants"]} == {limits["daily"]: 2, limits["slots"]: 2}
    leases = {grant["lease"] for answer in (first, third) for grant in answer["grants"]}
    assert len(leases) == 3


def test_units_returned_by_one_replica_are_granted_to_another(send, limits):
    ask = {"acquire": [{"limit": limits["daily"], "units": 1000, "waiting": 1000}]}
    (answer,) = send(received(1, **ask))
    (grant,) = answer["grants"]
    assert grant["units"] == 1000
    answers = send(received(2, **ask), received(1, **{"return": [{"lease": grant["lease"], "unspent": 700}]}))
    assert units(answers, limits["daily"]) == [700]


def test_replicas_cannot_return_or_renew_the_leases_of_others(send, limits, connection):
    ask = {"acquire": [{"limit": limits[name], "units": 4, "waiting": 4} for name in ("daily", "slots")]}
    (answer,) = send(received(1, **ask))
    daily, slots = (next(g["lease"] for g in answer["grants"] if g["limit"] == limits[n]) for n in ("daily", "slots"))
    before = connection.execute("SELECT * FROM lease ORDER BY id").fetchall()
    stranger = {
        "return": [{"lease": daily, "unspent": 4}],
        "hold": [{"lease": slots, "units": 1}],
        "progress": [{"lease": daily, "spent": 1}],
    }
    answers = send(received(2, **stranger), received(3, **{"return": [{"lease": slots, "used": 1}]}))
    assert [answer["held"] for answer in answers] == [[], []]
    assert connection.execute("SELECT * FROM lease ORDER BY id").fetchall() == before


def test_two_replicas_renew_their_slots_together(send, limits):
    ask = {"acquire": [{"limit": limits["slots"], "units": 2, "waiting": 2}]}
    leases = [answer["grants"][0]["lease"] for answer in send(received(1, **ask), received(2, **ask))]
    answers = send(*(received(n + 1, hold=[{"lease": lease, "units": 2}]) for n, lease in enumerate(leases)))
    assert [[held["lease"] for held in answer["held"]] for answer in answers] == [[leases[0]], [leases[1]]]
    assert {held["left_ms"] for answer in answers for held in answer["held"]} == {LIFE_US // 1000}


def test_a_denied_replica_retries_soon_and_the_holder_is_called_on_next_time(send, limits):
    ask = {"acquire": [{"limit": limits["daily"], "units": 1000, "waiting": 1000}]}
    first, second = send(received(1, **ask), received(2, **ask))
    assert [grant["units"] for grant in first["grants"]] == [1000]
    (denial,) = second["denials"]
    assert denial["retry_ms"] <= 1000 < denial["reset_ms"]
    assert [answer["wanted"] for answer in (first, second)] == [[], []]
    assert [answer["wanted"] for answer in send(received(1), received(2))] == [[limits["daily"]], []]


def test_each_service_receives_and_spends_only_what_it_has_looked_up(send, connection, account, limits):
    made, token = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="k", actor="test")
    ask = {"acquire": [{"limit": limits["daily"], "units": 5, "waiting": 5}]}
    look_up = {"look_up": [{"key": made.id, "digest": digest(token).hex()}]}
    knows, other = send(received(1, service="one", **look_up), received(2, service="two", **ask))
    assert [entry["id"] for entry in knows["keys"]] == [made.id]
    assert (other["keys"], other["grants"]) == ([], [])
    since = {"cursor": knows["cursor"], "epoch": knows["epoch"]}
    keys.change(connection, made.id, actor="test", name="renamed")
    answers = send(received(1, service="one", **since, **ask), received(2, service="two", **since, **ask))
    assert [[entry["name"] for entry in answer["keys"]] for answer in answers] == [["renamed"], []]
    assert [len(answer["grants"]) for answer in answers] == [1, 0]


def test_each_replica_receives_the_changes_since_its_cursor(send, connection, account):
    named = [keys.create(connection, peppers=PEPPERS, account_id=account.id, name="k", actor="test")[0] for _ in "ab"]
    cursors = []
    for key in named:
        (answer,) = send(received(1))
        cursors.append({"cursor": answer["cursor"], "epoch": answer["epoch"]})
        keys.change(connection, key.id, actor="test", name="renamed")
    answers = send(received(1, **cursors[0]), received(2, **cursors[1]), received(3, cursor=9999), received(4))
    assert [{entry["id"] for entry in answer["keys"]} for answer in answers] == [
        {key.id for key in named},
        {named[1].id},
        set(),
        set(),
    ]
    assert [answer["afresh"] for answer in answers] == [False, False, True, False]


def test_many_replicas_need_as_many_statements_as_one(send, connection, limits, monkeypatch):
    statements = []
    execute = psycopg.Cursor.execute
    monkeypatch.setattr(
        psycopg.Cursor,
        "execute",
        lambda self, query, *args, **options: statements.append(query) or execute(self, query, *args, **options),
    )

    def count(numbers):
        ask = {"acquire": [{"limit": limits[name], "units": 1} for name in ("daily", "slots")]}
        given = [
            [grant["lease"] for grant in answer["grants"]] for answer in send(*(received(n, **ask) for n in numbers))
        ]
        statements.clear()
        send(
            *(
                received(n, **ask, **{"return": [{"lease": lease, "unspent": 1} for lease in leases]})
                for n, leases in zip(numbers, given, strict=True)
            )
        )
        return len(statements)

    assert count([1]) == count(range(2, 20))


def test_waits_for_a_locked_row_time_out(send, limits, database_url):
    ask = {"acquire": [{"limit": limits["daily"], "units": 1}]}
    send(received(1, **ask))
    with database.connect(database_url) as other:
        other.execute("SELECT FROM limit_state FOR UPDATE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            send(received(1, **ask), received(2))
        assert [answer["grants"] for answer in send(received(2), received(3))] == [[], []]


def test_a_locked_row_holds_up_nobody_else(limits, database_url):
    def answer(connection, heartbeats, lock_timeout_ms):
        prices = PriceBook(PublicPrices())
        return heartbeat.answer(connection, heartbeats, peppers=PEPPERS, prices=prices, lock_timeout_ms=lock_timeout_ms)

    queue = HeartbeatQueue(lambda: database.connect(database_url), answer)
    ask = {"acquire": [{"limit": limits["daily"], "units": 1}]}
    queue.submit(received(1, **ask)).result(100)
    with database.connect(database_url) as other:
        other.execute("SELECT FROM limit_state FOR UPDATE")
        waiting = [queue.submit(received(number, **ask)) for number in range(2, 12)]
        assert queue.submit(received(20)).result(100).replicas
        assert all(isinstance(one.exception(100), psycopg.errors.LockNotAvailable) for one in waiting)
    assert queue.submit(received(2, **ask)).result(100).grants
