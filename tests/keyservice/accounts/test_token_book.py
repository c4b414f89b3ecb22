from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans, token_book, tokens
from keygauge_keyservice.accounts.token_book import TokenBook

AGES = 1e9  # seconds


@pytest.fixture
def make_book(database_url):
    def connect():
        return database.connect(database_url)

    return lambda **options: TokenBook(connect, connect, **options)


@pytest.fixture
def fresh(monkeypatch):
    """`fresh(seconds)` sets how long cached tokens are valid."""
    return lambda seconds: monkeypatch.setattr(token_book, "_FRESH_S", seconds)


def test_a_token_is_valid_until_it_expires_or_is_revoked(connection, make_book, fresh):
    fresh(AGES)
    given = {"kind": "service", "actor": "test"}
    token, secret = tokens.create(connection, name="shop", **given)
    _, expired = tokens.create(connection, name="old", expires_at=datetime.now(UTC) - timedelta(seconds=1), **given)
    book = make_book()
    assert (book.find(f"{secret}x"), book.find(expired), book.find(secret)) == (None, None, token)
    tokens.revoke(connection, token.id, actor="test")
    assert book.find(secret) == token
    fresh(-1)
    assert book.find(secret) is None


def test_an_account_token_is_cached_after_its_lookup(connection, make_book, fresh):
    fresh(AGES)
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    token, secret = tokens.create(connection, kind="account", account_id=account.id, name="ci", actor="test")
    book = make_book()
    assert token_book.is_of_account(secret)
    assert (book.find(secret), book.look_up(secret), book.find(secret)) == (None, token, token)
    fresh(-1)
    assert book.find(secret) is None  # the cache entry has expired
    fresh(AGES)
    tokens.revoke(connection, token.id, actor="test")
    assert (book.find(secret), book.look_up(secret), book.find(secret)) == (token, None, None)


def test_a_cached_token_is_found_without_the_database_while_it_is_fresh(connection, make_book, fresh):
    fresh(AGES)
    token, secret = tokens.create(connection, name="shop", kind="service", actor="test")
    book = make_book()
    assert (book.is_fresh, book.find_cached(secret)) == (False, None)
    book.refresh()
    assert (book.is_fresh, book.find_cached(secret), book.find_cached("kgs_unknown")) == (True, token, None)
    tokens.revoke(connection, token.id, actor="test")
    book.refresh()  # fresh, so nothing is read
    assert book.find_cached(secret) == token
    fresh(-1)
    assert (book.is_fresh, book.find_cached(secret)) == (False, None)
    book.refresh()
    fresh(AGES)
    assert (book.is_fresh, book.find_cached(secret)) == (True, None)


def test_a_new_token_is_known_at_once(connection, make_book, fresh):
    fresh(AGES)
    book = make_book()
    assert book.find("kgs_unknown") is None
    token, secret = tokens.create(connection, kind="service", name="shop", actor="test")
    assert book.find(secret) == token


def test_unknown_tokens_cost_few_queries(database_url, fresh):
    fresh(AGES)
    connected = []

    def connect():
        connected.append(database.connect(database_url))
        return connected[-1]

    book = TokenBook(connect, connect)
    assert {book.find(f"kga_unknown{n}") for n in range(100)} == {None}
    assert len(connected) == token_book._MISSES_MAX + 1


def test_texts_without_a_token_prefix_cost_no_query():
    def connect():
        raise AssertionError

    assert TokenBook(connect, connect).find("nonsense") is None


@pytest.mark.parametrize("notes_use", [True, False])
def test_last_use_is_recorded_except_on_a_standby(connection, make_book, fresh, notes_use):
    fresh(-1)
    _, secret = tokens.create(connection, kind="admin", name="ci", actor="test")
    book = make_book(notes_use=notes_use)
    for _ in range(2):
        book.find(secret)
    [listed] = tokens.list_tokens(connection)
    assert (listed.last_used_at is not None) == notes_use
