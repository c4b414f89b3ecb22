import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest

from keygauge.key import digest
from keygauge.protocol import Heartbeat
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.usage.live_rates import find_live_rates
from keygauge_keyservice.usage.quota import find_quotas

PEPPERS = Peppers.parse("1:" + "33" * 32)
WINDOW_US = 3_600_000_000
ONE, TWO, THREE = "1" * 32, "2" * 32, "3" * 32
RPM = plans.Limit(name="rpm", unit="request", amount=60, window_s=3600)
MONTHLY = plans.Limit(name="monthly_requests", unit="request", amount=1000, period="month")
BY_KEY = plans.Limit(name="per_key", unit="request", amount=5, period="day", subject="key")


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[RPM, MONTHLY, BY_KEY], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")


@pytest.fixture
def limits(connection, account, key):
    """Return the ids of the limits by name."""
    ids = {limit.name: limit.id for limit in plans.require(connection, "free").limits}
    return {name: f"{number}:{key[0].id if name == 'per_key' else account.id}" for name, number in ids.items()}


@pytest.fixture
def send(connection):
    def send(replica=ONE, **parts):
        with connection.transaction():
            return send_on(connection, replica, **parts)

    return send


def send_on(connection, replica=ONE, **parts):
    head = {"replica": replica, "service": "api", "host": "a", "version": "0", "mode": "enforce", "cursor": None}
    message = msgspec.convert(head | parts, Heartbeat)
    (answer,) = heartbeat.answer(
        connection, [Received(message, None)], peppers=PEPPERS, prices=PriceBook(PublicPrices())
    )
    return msgspec.to_builtins(answer)


def acquire(limit, units):
    return {"acquire": [{"limit": limit, "units": units}]}


def give_back(lease, unspent):
    return {"return": [{"lease": lease, "unspent": unspent}]}


def use(connection, limit):
    return sum(connection.execute("SELECT cells FROM limit_state WHERE id = %s", (limit,)).fetchone()["cells"])


def test_a_key_is_found_by_its_digest(send, account, key, limits):
    made, token = key
    answer = send(look_up=[{"key": made.id, "digest": digest(token).hex()}])
    assert answer["found"] == [{"digest": digest(token).hex(), "key": made.id, "secret": 1}]
    assert answer["unknown"] == []
    (entry,) = answer["keys"]
    assert {name: entry[name] for name in ("id", "account", "name", "plan", "environment", "status", "expires_at")} == {
        "id": made.id,
        "account": account.id,
        "name": "prod",
        "plan": "free",
        "environment": "live",
        "status": "active",
        "expires_at": None,
    }
    assert entry["secrets"] == [{"number": 1, "expires_at": None}]
    assert {limit["name"]: limit["id"] for limit in entry["limits"]} == limits
    assert entry["limits"][0] == {
        "id": limits["rpm"],
        "name": "rpm",
        "unit": "request",
        "amount": 60,
        "window_s": 3600,
        "period": None,
        "when_down": "closed",
        "dry_run": False,
        "route": None,
        "model": None,
        "output_default": None,
        "when_unpriced": "admit",
        "whose": "account",
        "unit_name": None,
        "weights": None,
        "per_tag": False,
        "tool": None,
    }


def test_a_disabled_key_is_in_the_feed(send, connection, key):
    cursor = send()["cursor"]
    assert send(cursor=cursor)["keys"] == []
    keys.set_status(connection, key[0].id, "disabled", actor="test")
    answer = send(cursor=cursor)
    assert [(entry["id"], entry["status"]) for entry in answer["keys"]] == [(key[0].id, "disabled")]
    assert answer["cursor"] == cursor + 1
    assert not answer["more"]
    assert not answer["afresh"]


def test_a_deleted_key_is_in_the_feed(send, connection, key):
    cursor = send()["cursor"]
    keys.delete(connection, key[0].id, actor="test")
    assert [entry["status"] for entry in send(cursor=cursor)["keys"]] == ["deleted"]


def test_an_unknown_cursor_starts_afresh(send, key):
    assert key
    answer = send(cursor=999)
    assert answer["afresh"]
    assert answer["cursor"] == 1


def test_units_are_granted_and_counted(send, limits, connection):
    answer = send(**acquire(limits["rpm"], 20))
    (grant,) = answer["grants"]
    assert (grant["limit"], grant["units"], grant["remaining"]) == (limits["rpm"], 20, 40)
    assert 0 < grant["left_ms"] <= 225_000
    assert grant["left_ms"] < grant["reset_ms"] <= 3_825_000
    assert answer["denials"] == []
    assert use(connection, limits["rpm"]) == 20


def test_a_quota_lease_lives_30_seconds(send, limits):
    (grant,) = send(**acquire(limits["monthly_requests"], 10))["grants"]
    now = datetime.now(UTC)
    ends = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    left_ms = (ends - now).total_seconds() * 1000
    assert grant["left_ms"] == pytest.approx(min(30_000, left_ms), abs=2_000)
    assert grant["reset_ms"] == pytest.approx(left_ms, abs=5_000)


def test_an_exhausted_limit_is_denied_with_the_time_to_wait(send, limits, connection):
    send(**acquire(limits["rpm"], 60))
    answer = send(**acquire(limits["rpm"], 1))
    assert answer["grants"] == []
    (denial,) = answer["denials"]
    assert (denial["limit"], denial["remaining"]) == (limits["rpm"], 0)
    assert 3_600_000 - 180_000 < denial["retry_ms"] <= 3_825_000
    assert use(connection, limits["rpm"]) == 60


def test_a_denial_creates_no_lease(send, limits, connection):
    send(**acquire(limits["per_key"], 5))
    send(**acquire(limits["per_key"], 5))
    assert connection.execute("SELECT sum(units) AS units FROM lease").fetchone()["units"] == 5


def test_a_return_is_refunded_once(send, limits, connection):
    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    for _ in range(3):
        send(**give_back(grant["lease"], 15))
        assert use(connection, limits["monthly_requests"]) == 5


def test_a_return_refunds_at_most_what_was_granted(send, limits, connection):
    send(**acquire(limits["monthly_requests"], 7))
    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    send(**give_back(grant["lease"], 2**53 - 1))
    assert use(connection, limits["monthly_requests"]) == 7


def test_unspent_units_may_be_returned_after_the_end_of_a_lease(send, limits, connection):
    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() - interval '30 seconds'")
    for _ in range(2):  # counts once, even if reported twice
        send(**give_back(grant["lease"], 8))
        assert use(connection, limits["monthly_requests"]) == 12
    assert connection.execute("SELECT FROM lease").fetchall() == []


def test_units_that_arrived_too_late_are_granted_again(send, limits, connection):
    (grant,) = send(acquire=[{"limit": limits["rpm"], "units": 60, "waiting": 60}])["grants"]
    assert send(acquire=[{"limit": limits["rpm"], "units": 1, "waiting": 1}])["denials"]
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() - interval '1 second'")
    asked = {"limit": limits["rpm"], "units": 60, "waiting": 60, "life_ms": 2000}
    (again,) = send(**give_back(grant["lease"], 60), acquire=[asked])["grants"]
    assert again["units"] == 60
    assert 1900 < again["left_ms"] <= 2000


def test_units_held_by_an_idle_replica_are_called_back(send, limits):
    quota = limits["monthly_requests"]
    (held,) = send(**acquire(quota, 20_000))["grants"]
    assert send()["wanted"] == []
    (denial,) = send(TWO, acquire=[{"limit": quota, "units": 1, "waiting": 1}])["denials"]
    assert denial["retry_ms"] == 1000 < denial["reset_ms"]
    assert send()["wanted"] == [quota]
    assert send(**give_back(held["lease"], 5))["wanted"] == []
    (grant,) = send(TWO, acquire=[{"limit": quota, "units": 5, "waiting": 5}])["grants"]
    assert grant["units"] == 5
    assert grant["retry_ms"] == grant["reset_ms"]


def test_reported_progress_counts_as_used(send, account, limits, connection):
    def figures():
        found = {quota.name: quota for quota in find_quotas(connection, account.id)}["monthly_requests"]
        assert found.used + found.remaining == found.amount
        return found.used, found.reserved

    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    assert figures() == (0, 20)
    send(progress=[{"lease": grant["lease"], "spent": 7}])
    assert figures() == (7, 13)
    send(TWO, progress=[{"lease": grant["lease"], "spent": 9}])  # of a lease of another replica
    assert figures() == (7, 13)
    send(**{"return": [{"lease": grant["lease"], "used": 12}]})  # by calls in progress
    assert figures() == (12, 0)
    send(**give_back(grant["lease"], 2))
    assert figures() == (10, 0)


def test_unspent_units_of_others_are_reported_as_unused(send, limits, connection):
    quota = limits["monthly_requests"]
    (mine,) = send(**acquire(quota, 100))["grants"]
    assert (mine["remaining"], mine["unused"], mine["told_ms"]) == (900, 900, 0)
    (grant,) = send(TWO, **acquire(quota, 50))["grants"]
    assert (grant["remaining"], grant["unused"]) == (850, 950)
    send(progress=[{"lease": mine["lease"], "spent": 30}])
    connection.execute("UPDATE replica SET seen_at = clock_timestamp() - interval '3 seconds' WHERE id = %s", (ONE,))
    (grant,) = send(TWO, **acquire(quota, 50))["grants"]
    assert (grant["remaining"], grant["unused"]) == (800, 870)
    assert 3_000 <= grant["told_ms"] < 60_000


def test_units_called_back_a_while_ago_are_not_expected_back(send, limits, connection):
    quota = limits["monthly_requests"]
    send(**acquire(quota, 20_000))
    asked = {"acquire": [{"limit": quota, "units": 1, "waiting": 1}]}
    send(TWO, **asked)
    connection.execute("UPDATE lease SET wanted_at = wanted_at - interval '6 seconds'")
    (denial,) = send(TWO, **asked)["denials"]
    assert denial["retry_ms"] == denial["reset_ms"]


def test_own_reserved_units_of_a_quota_may_come_back(send, connection, account):
    budget = plans.Limit(name="tokens", unit="token", amount=1000, period="month")
    plans.replace_limits(connection, "free", [budget], actor="x")
    connection.commit()
    (quota,) = (f"{item.id}:{account.id}" for item in plans.require(connection, "free").limits)
    (held,) = send(acquire=[{"limit": quota, "units": 1000, "waiting": 1000}])["grants"]
    asked = {"acquire": [{"limit": quota, "units": 10, "waiting": 10}]}
    (denial,) = send(**asked)["denials"]
    assert denial["retry_ms"] == denial["reset_ms"]
    (denial,) = send(progress=[{"lease": held["lease"], "spent": 990, "reserved": 20}], **asked)["denials"]
    assert denial["retry_ms"] == 1000 < denial["reset_ms"]
    (denial,) = send(progress=[{"lease": held["lease"], "spent": 990, "reserved": 0}], **asked)["denials"]
    assert denial["retry_ms"] == denial["reset_ms"]


def test_a_limit_is_shared_by_the_replicas_that_use_it(send, limits):
    for number in range(9):
        send(f"{number}" * 32)
    (grant,) = send(acquire=[{"limit": limits["rpm"], "units": 40}])["grants"]
    assert (grant["units"], grant["replicas"], grant["small"]) == (40, 1, False)
    (grant,) = send(TWO, acquire=[{"limit": limits["rpm"], "units": 40}])["grants"]
    assert (grant["units"], grant["replicas"]) == (5, 2)


def test_units_of_a_bucket_that_no_longer_counts_are_lost(send, limits, connection):
    (grant,) = send(**acquire(limits["rpm"], 20))["grants"]
    connection.execute("UPDATE limit_state SET ends = ARRAY[ends[1] + 10000000]")
    send(**give_back(grant["lease"], 20))
    assert use(connection, limits["rpm"]) == 20


def test_ended_leases_are_deleted_by_heartbeats(send, limits, connection):
    send(**acquire(limits["rpm"], 5))
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() - interval '61 seconds'")
    send(**acquire(limits["monthly_requests"], 1))
    assert connection.execute("SELECT units FROM lease").fetchall() == [{"units": 1}]


def test_a_lease_with_calls_in_progress_gives_back_now_and_once_more_later(send, limits, connection):
    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    for _ in range(2):  # sent twice
        send(**{"return": [{"lease": grant["lease"], "used": 12}]})
        assert use(connection, limits["monthly_requests"]) == 12
    send(**{"return": [{"lease": grant["lease"], "used": 15}]})  # an older one that arrives late
    assert use(connection, limits["monthly_requests"]) == 12
    send(**give_back(grant["lease"], 5))
    assert use(connection, limits["monthly_requests"]) == 7


def test_an_ended_lease_is_kept_for_calls_in_progress(send, limits, connection):
    (grant,) = send(**acquire(limits["monthly_requests"], 20))["grants"]
    connection.execute("UPDATE lease SET ends_at = clock_timestamp()")
    send(**{"return": [{"lease": grant["lease"], "used": 12}]})
    assert use(connection, limits["monthly_requests"]) == 12
    send(**give_back(grant["lease"], 12))
    assert use(connection, limits["monthly_requests"]) == 0


def test_a_unit_for_immediate_use_counts_from_when_it_was_spent(send, limits, connection):
    def end():
        return connection.execute("SELECT ends[1] AS us FROM limit_state").fetchone()["us"]

    answer = send(acquire=[{"limit": limits["rpm"], "units": 1, "waiting": 1}])
    (grant,) = answer["grants"]
    assert (grant["exact"], grant["start_us"]) == (True, 0)
    assert grant["left_ms"] <= 500
    before = end()
    connection.execute("UPDATE lease SET ends_at = clock_timestamp()")  # it may be reported after its end
    send(**{"return": [{"lease": grant["lease"], "unspent": 0, "ago_us": 10}]})
    assert before - 500_000 < end() < before
    assert use(connection, limits["rpm"]) == 1


def test_a_replica_with_the_same_clock_learns_when_the_last_unit_was_spent(send, limits, connection):
    connection.execute("UPDATE plan_limit SET amount = 1 WHERE name = 'rpm'")
    ask = {"acquire": [{"limit": limits["rpm"], "units": 1, "waiting": 1}]}
    took_s = 1.0
    while took_s > 0.2:  # on a busy machine the window may be over before the heartbeat is answered
        connection.execute("TRUNCATE limit_state, lease")
        (grant,) = send(ONE, **ask)["grants"]
        told = {"lease": grant["lease"], "unspent": 0, "ago_us": 1_000, "exact": True}
        send(ONE, clock={"name": "a host", "us": 9_000_000}, **{"return": [told]})
        row = connection.execute("SELECT clock, stamps, ends FROM limit_state").fetchone()
        assert (row["clock"], row["stamps"], len(row["ends"])) == ("a host", [8_999_001], 1)
        began = time.monotonic()
        connection.execute(  # the window is over in 0.24 s
            "UPDATE limit_state SET ends = ARRAY[(extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %s]",
            (WINDOW_US - 240_000,),
        )
        (grant,) = send(TWO, clock={"name": "a host", "us": 8_999_001 + WINDOW_US - 240_500}, **ask)["grants"]
        took_s = time.monotonic() - began
    assert (grant["units"], grant["wait_us"], grant["start_us"]) == (1, 240_500, 0)


OVERDRAWN = {"units": 1500, "debt": 1200}  # of a quota of 1,000


def test_a_heartbeat_that_arrives_twice_counts_once(send, limits, connection):
    twice = {"number": 7, "acquire": [{"limit": limits["monthly_requests"], **OVERDRAWN}]}
    first, second = send(**twice), send(**twice)
    assert [grant["units"] for grant in first["grants"]] == [1200]
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert second["grants"] == second["denials"] == []
    assert use(connection, limits["monthly_requests"]) == 1200
    later = send(**twice | {"number": 8, "lost": [{"first": 7, "last": 7}]})  # the first answer did not arrive
    assert [grant["units"] for grant in later["grants"]] == [1200]
    assert use(connection, limits["monthly_requests"]) == 1200


def test_a_heartbeat_that_arrives_at_two_processes_counts_once(connection, limits, database_url):
    twice = {"number": 7, "acquire": [{"limit": limits["monthly_requests"], **OVERDRAWN}]}

    def again():
        with database.connect(database_url) as own, own.transaction():
            return send_on(own, **twice)

    with ThreadPoolExecutor(1) as threads:
        with connection.transaction():
            first = send_on(connection, **twice)
            second = threads.submit(again)
            wait_for_blocked(database_url)
        assert (len(first["grants"]), second.result()["grants"]) == (1, [])
    assert use(connection, limits["monthly_requests"]) == 1200


def test_another_replicas_lease_is_not_taken_back(send, limits, connection):
    (grant,) = send(ONE, **acquire(limits["monthly_requests"], 20))["grants"]
    send(TWO, **give_back(grant["lease"], 20))
    assert use(connection, limits["monthly_requests"]) == 20


def test_a_return_makes_room_in_the_same_heartbeat(send, limits):
    (grant,) = send(**acquire(limits["per_key"], 5))["grants"]
    answer = send(**give_back(grant["lease"], 5), **acquire(limits["per_key"], 5))
    assert [item["units"] for item in answer["grants"]] == [5]


@pytest.mark.parametrize("limit", ["", "x", "0:none", "99999999999999999999:abc", "1:", ":1", "-1:a", "1:none"])
def test_unknown_limits_are_ignored(send, limits, limit, connection):
    answer = send(acquire=[{"limit": limit, "units": 5}, {"limit": limits["rpm"], "units": 5}])
    assert [grant["limit"] for grant in answer["grants"]] == [limits["rpm"]]
    assert connection.execute("SELECT id FROM limit_state").fetchall() == [{"id": limits["rpm"]}]


@pytest.mark.parametrize("lease", ["", "x", "12", "9" * 40, "-1"])
def test_unknown_leases_are_ignored(send, lease):
    assert send(**give_back(lease, 5))["grants"] == []


def test_a_limit_of_another_plan_is_unknown(send, limits, connection, account):
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    accounts.change_plan(connection, account.id, "pro", actor="test")
    assert send(**acquire(limits["rpm"], 5))["grants"] == []


def test_a_lowered_limit_grants_nothing_beyond_its_amount(send, limits, connection):
    send(**acquire(limits["monthly_requests"], 100))
    plans.replace_limits(
        connection, "free", [plans.Limit(name="monthly_requests", unit="request", amount=50, period="month")], actor="t"
    )
    (denial,) = send(**acquire(limits["monthly_requests"], 1))["denials"]
    assert denial["remaining"] == 0


def test_replicas_share_and_a_single_one_gets_everything(send, limits, connection):
    assert send(ONE, **acquire(limits["rpm"], 40))["grants"][0]["units"] == 40
    assert send(TWO, **acquire(limits["rpm"], 40))["grants"][0]["units"] == 5
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '61 seconds'")
    assert send(THREE, **acquire(limits["rpm"], 40))["grants"][0]["units"] == 15


def test_a_replica_is_recorded_and_forgotten(send, connection):
    send(ONE)
    connection.execute("UPDATE replica SET seen_at = seen_at - interval '2 days'")
    send(TWO)
    assert [row["id"] for row in connection.execute("SELECT id FROM replica")] == [TWO]


def test_a_heartbeat_makes_as_many_statements_for_many_limits_as_for_one(connection, monkeypatch):
    statements = []
    execute = psycopg.Connection.execute
    monkeypatch.setattr(
        psycopg.Connection,
        "execute",
        lambda self, query, *args: statements.append(query) or execute(self, query, *args),
    )
    limits = [plans.Limit(name=f"l{n}", unit="request", amount=100, period="day") for n in range(20)]
    plans.create(connection, plan_id="many", name="Many", limits=limits, actor="test")
    account = accounts.create(connection, name="Acme", plan_id="many", actor="test")
    ids = [f"{limit.id}:{account.id}" for limit in plans.require(connection, "many").limits]

    def count(ids):
        with connection.transaction():
            granted = send_on(connection, acquire=[{"limit": limit, "units": 2} for limit in ids])["grants"]
        statements.clear()
        with connection.transaction():
            send_on(
                connection,
                **{
                    "return": [{"lease": grant["lease"], "unspent": 1} for grant in granted],
                    "acquire": [{"limit": limit, "units": 2} for limit in ids],
                },
            )
        return len(statements)

    assert count(ids[:1]) == count(ids) <= 13


def test_concurrent_heartbeats_never_exceed_the_limit_in_any_window(connection, account, database_url):
    amount, window_s, seconds = 40, 1, 2.5
    limit = plans.Limit(name="burst", unit="request", amount=amount, window_s=window_s)
    budget = plans.Limit(name="daily", unit="request", amount=300, period="day")
    plans.replace_limits(connection, "free", [limit, budget], actor="test")
    rate, daily = (f"{item.id}:{account.id}" for item in plans.require(connection, "free").limits)
    spends, totals, began = [], [], time.monotonic()

    def is_over(now):
        """Return whether enough was spent; on a busy machine it takes longer, as leases end before they arrive."""
        return (now > began + seconds and sum(totals) >= 300 and len(spends) > amount / 3) or now > began + 60

    def replica(number):
        with database.connect(database_url) as own:
            order = [rate, daily] if number % 2 else [daily, rate]
            while not is_over(sent := time.monotonic()):
                with own.transaction():
                    answer = send_on(
                        own, str(number) * 32, cursor=0, acquire=[{"limit": item, "units": 3} for item in order]
                    )
                for grant in answer["grants"]:
                    if grant["limit"] == daily:
                        totals.append(grant["units"])
                    elif time.monotonic() < sent + grant["left_ms"] / 1000:
                        spends.append((time.monotonic(), sent + grant["left_ms"] / 1000, grant["units"]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(replica, range(1, 5)))
    assert sum(totals) == 300
    assert len(spends) > amount / 3
    for _, end, _ in spends:
        touched = sum(units for first, last, units in spends if first < end + window_s and last >= end)
        assert touched <= amount


def test_a_heartbeat_that_waits_for_a_lock_uses_the_time_after_it(connection, account, database_url):
    """`now()` is the start of the transaction: with it, a heartbeat that waited would get a lease that is over."""
    plans.replace_limits(
        connection, "free", [plans.Limit(name="rps", unit="request", amount=9, window_s=1)], actor="test"
    )
    limit = f"{plans.require(connection, 'free').limits[0].id}:{account.id}"
    with connection.transaction():
        send_on(connection, **acquire(limit, 1))

    def late():
        with database.connect(database_url) as own, own.transaction():
            return send_on(own, TWO, **acquire(limit, 1))

    with ThreadPoolExecutor(1) as threads:
        with connection.transaction():
            connection.execute("SELECT FROM limit_state WHERE id = %s FOR UPDATE", (limit,))
            answer = threads.submit(late)
            wait_for_blocked(database_url)
            connection.execute("SELECT pg_sleep(0.12)")  # longer than two buckets of this window
            released = connection.execute("SELECT clock_timestamp() AS at").fetchone()["at"]
        (grant,) = answer.result()["grants"]
    lease = connection.execute("SELECT ends_at FROM lease WHERE id = %s", (grant["lease"],)).fetchone()
    assert lease["ends_at"] > released


def wait_for_blocked(url):
    with database.connect(url) as watcher:
        watcher.autocommit = True
        for _ in range(5000):
            row = watcher.execute(
                "SELECT count(*) AS blocked FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if row["blocked"]:
                return
            time.sleep(0.01)
    raise TimeoutError("no beat waits for the lock")


def test_a_service_only_has_open_streams_of_keys_that_it_has_looked_up(connection, account, key):
    streams = [{"key": key[0].id, "open": 2, "oldest_ms": 1_000, "messages": 5}]
    head = {"service": "api", "host": "a", "version": "0", "mode": "enforce", "cursor": None, "streams": streams}
    look_up = {"look_up": [{"key": key[0].id, "digest": digest(key[1]).hex()}]}

    def send(service, replica, **parts):
        received = Received(msgspec.convert({"replica": replica} | head | parts, Heartbeat), service)
        heartbeat.answer(connection, [received], peppers=PEPPERS, prices=PriceBook(PublicPrices()))
        return find_live_rates(connection, account.id).streams.open

    assert send("stranger", ONE) == 0
    assert send("own", TWO, **look_up) == 0  # not looked up yet when it arrived
    assert send("own", THREE) == 2
