import hashlib

import pytest

from keygauge_keyservice.accounts import accounts, login_throttle, members, plans, sessions


@pytest.fixture
def member(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    return members.create(
        connection, account_id=account.id, email="ada@example.com", password="correct horse battery", actor="test"
    )


def test_a_session_is_found_only_by_its_cookie(connection, member):
    token = sessions.start(connection, member.id)
    session = sessions.find(connection, token)
    assert session.member == member
    assert sessions.find(connection, token + "x") is None
    assert token not in repr(session)


def test_the_database_stores_only_the_hash_of_the_cookie(connection, member):
    token = sessions.start(connection, member.id)
    row = connection.execute("SELECT hash, session::text AS text FROM session").fetchone()
    assert row["hash"] == hashlib.sha256(token.encode()).digest()
    assert token not in row["text"]


def test_an_expired_session_is_not_found_and_deleted_by_the_next_one(connection, member):
    token = sessions.start(connection, member.id)
    connection.execute("UPDATE session SET ends_at = now() - interval '1 second'")
    assert sessions.find(connection, token) is None
    sessions.start(connection, member.id)
    assert connection.execute("SELECT count(*) FROM session").fetchone() == {"count": 1}


def test_a_session_ends_immediately(connection, member):
    token = sessions.start(connection, member.id)
    sessions.end(connection, sessions.find(connection, token))
    assert sessions.find(connection, token) is None


def test_a_form_can_be_submitted_once_per_session(connection, member):
    first = sessions.find(connection, sessions.start(connection, member.id))
    second = sessions.find(connection, sessions.start(connection, member.id))
    assert sessions.spend_form(connection, first, "form")
    assert not sessions.spend_form(connection, first, "form")
    assert sessions.spend_form(connection, second, "form")


def admit(connection, email, ip):
    with connection.transaction():
        return login_throttle.admit(connection, email=email, ip=ip)


def test_guessing_one_address_from_one_ip_is_blocked(connection):
    tries = [admit(connection, "ada@example.com", "192.0.2.1") for _ in range(login_throttle.PER_EMAIL_AND_IP + 3)]
    assert tries == [True] * login_throttle.PER_EMAIL_AND_IP + [False] * 3
    assert admit(connection, "ada@example.com", "192.0.2.2")
    assert admit(connection, "bob@example.com", "192.0.2.1")


def test_guessing_one_address_from_many_ips_is_blocked(connection):
    tries = [
        admit(connection, "ada@example.com", f"192.0.2.{number}") for number in range(login_throttle.PER_EMAIL + 1)
    ]
    assert tries == [True] * login_throttle.PER_EMAIL + [False]


def test_guessing_many_addresses_from_one_ip_is_blocked(connection):
    tries = [admit(connection, f"{number}@example.com", "192.0.2.1") for number in range(login_throttle.PER_IP + 1)]
    assert tries == [True] * login_throttle.PER_IP + [False]


def test_the_block_ends_with_its_window_regardless_of_further_attempts(connection):
    for _ in range(login_throttle.PER_EMAIL_AND_IP + 10):
        admit(connection, "ada@example.com", "192.0.2.1")
    connection.execute("UPDATE sign_in_failure SET at = at - make_interval(secs => %s)", (login_throttle.WINDOW_S,))
    assert admit(connection, "ada@example.com", "192.0.2.1")
    assert connection.execute("SELECT count(*) FROM sign_in_failure").fetchone() == {"count": 1}
