import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.journal import change_feed
from keygauge_keyservice.keys import keys
from keygauge_keyservice.secret import Peppers

PEPPERS = Peppers.parse("1:" + "22" * 32)


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")[0]


@pytest.mark.usefixtures("key")
def test_new_replica_gets_the_newest_cursor_and_no_changes(connection):
    assert change_feed.read(connection, None) == change_feed.Changes(1, [])


def test_empty_feed_starts_at_zero(connection):
    assert change_feed.read(connection, None) == change_feed.Changes(0, [])
    assert change_feed.read(connection, 0) == change_feed.Changes(0, [])


def test_changes_have_keys_and_plans_apart(connection, account, key):
    other, _ = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="dev", actor="test")
    cursor = change_feed.read(connection, None).cursor

    def changed():
        nonlocal cursor
        changes = change_feed.read(connection, cursor)
        cursor = changes.cursor
        return [*changes.plan_ids, *changes.key_ids]

    keys.set_status(connection, key.id, "disabled", actor="test")
    assert changed() == [key.id]
    keys.set_status(connection, key.id, "disabled", actor="test")
    assert changed() == []
    keys.change(connection, key.id, name="production", actor="test")
    assert changed() == [key.id]
    accounts.set_status(connection, account.id, "suspended", actor="test")
    assert sorted(changed()) == sorted([key.id, other.id])
    plans.replace_limits(
        connection, "free", [plans.Limit(name="rpm", unit="request", amount=1, window_s=60)], actor="test"
    )
    assert changed() == ["free"]
    plans.set_providers(connection, "free", ["/v1/*=openai"], actor="test")
    assert changed() == ["free"]
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    assert changed() == []
    accounts.change_plan(connection, account.id, "pro", actor="test")
    assert sorted(changed()) == sorted([key.id, other.id])
    keys.delete(connection, other.id, actor="test")
    assert changed() == [other.id]
    keys.delete(connection, other.id, actor="test")
    assert changed() == []


def test_many_changes_are_paginated(connection):
    change_feed.record_keys(connection, [f"k{number}" for number in range(2_500)])
    changes = change_feed.read(connection, 0)
    assert (len(changes.key_ids), changes.cursor, changes.more) == (1_000, 1_000, True)
    changes = change_feed.read(connection, 2_000)
    assert (len(changes.key_ids), changes.cursor, changes.more) == (500, 2_500, False)


def test_cursor_older_than_the_feed_starts_afresh(connection, monkeypatch):
    monkeypatch.setattr(change_feed, "KEPT", 10)
    change_feed.record_keys(connection, [f"k{number}" for number in range(30)])
    assert change_feed.read(connection, 20).key_ids == [f"k{number}" for number in range(20, 30)]
    assert change_feed.read(connection, 19) == change_feed.Changes(30, [], afresh=True)


@pytest.mark.usefixtures("key")
def test_cursor_newer_than_the_feed_starts_afresh(connection):
    assert change_feed.read(connection, 7) == change_feed.Changes(1, [], afresh=True)


def test_numbers_continue_after_pruning(connection, monkeypatch):
    monkeypatch.setattr(change_feed, "KEPT", 1)
    for _ in range(3):
        change_feed.record_keys(connection, ["k"])
    change_feed.record_keys(connection, ["k"])
    assert change_feed.read(connection, None).cursor == 4


def test_polling_reader_misses_no_concurrent_commit(database_url):
    written, seen, done = 120, [], threading.Event()

    def write(name):
        with database.connect(database_url) as connection:
            for number in range(written // 4):
                with connection.transaction():
                    change_feed.record_keys(connection, [f"{name}-{number}"])

    def read():
        cursor = 0
        with database.connect(database_url) as connection:
            connection.autocommit = True
            while True:
                last = done.is_set()
                changes = change_feed.read(connection, cursor)
                cursor = changes.cursor
                seen.extend(changes.key_ids)
                if last:
                    return

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, "abcd"))
    done.set()
    reader.join()
    assert len(seen) == written
    assert len(set(seen)) == written


def test_cursor_of_another_epoch_starts_afresh_even_if_its_number_exists(connection):
    change_feed.record_keys(connection, ["a"])
    known = change_feed.read(connection, 1)
    assert known.epoch
    assert not change_feed.read(connection, 1, epoch=known.epoch).afresh
    assert change_feed.read(connection, 1, epoch="another").afresh


def test_feed_restored_into_a_running_server_has_another_epoch(connection):
    before = change_feed.read(connection, None).epoch
    assert change_feed.read(connection, None).epoch == before
    connection.execute("CREATE TABLE kept AS TABLE key_change")
    connection.execute("TRUNCATE key_change")
    connection.execute("INSERT INTO key_change SELECT * FROM kept")
    assert change_feed.read(connection, None).epoch != before
