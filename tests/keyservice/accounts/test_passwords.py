from threading import Thread

import argon2
import pytest
from polling import until

from keygauge_keyservice.accounts import passwords
from keygauge_keyservice.errors import Problem

PASSWORD = "correct horse battery"


class CountingHasher(argon2.PasswordHasher):
    """A hasher that records the parameters of each hash it compares with."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.compared = []

    def verify(self, password_hash, password):
        self.compared.append(argon2.extract_parameters(password_hash))
        return super().verify(password_hash, password)


def test_passwords_are_hashed_with_the_parameters_of_rfc_9106(slow_password_hasher):
    password_hash = slow_password_hasher.hash(PASSWORD)
    assert argon2.extract_parameters(password_hash) == argon2.profiles.RFC_9106_LOW_MEMORY
    assert passwords.verify(password_hash, PASSWORD)
    assert not passwords.verify(password_hash, f"{PASSWORD}!")


def test_verifying_without_a_hash_takes_the_same_work(monkeypatch):
    hasher = CountingHasher()
    monkeypatch.setattr(passwords, "_hasher", hasher)
    monkeypatch.setattr(passwords, "_dummy_hash", passwords._dummy_hash.__wrapped__)
    assert not passwords.verify(passwords.hash_password(PASSWORD), "wrong")
    assert not passwords.verify(None, "wrong")
    with_a_hash, without_a_hash = hasher.compared
    assert with_a_hash == without_a_hash


def test_hashing_is_bounded_and_requests_beyond_the_queue_are_rejected():
    line = passwords.Line(at_once=1, line_max=1, turn_s=100)
    took_turns = []

    def wait():
        with line.turn():
            took_turns.append("second")

    thread = Thread(target=wait)
    with line.turn():
        thread.start()
        until(lambda: line._inside == 2)
        with pytest.raises(Problem) as refused, line.turn():
            pass
        took_turns.append("first")
    thread.join(100)
    assert (refused.value.status, refused.value.code) == (503, "busy")
    assert took_turns == ["first", "second"]
    with line.turn():  # there is room again
        pass


def test_waiting_for_a_turn_times_out():
    line = passwords.Line(at_once=1, turn_s=0.01)
    with line.turn():
        with pytest.raises(Problem) as refused, line.turn():
            pass
        assert refused.value.code == "busy"
    with line.turn():
        pass


@pytest.mark.parametrize(
    ("password", "code"),
    [("short", "bad_length"), ("x" * 1025, "bad_length"), ("password1234", "too_common"), (PASSWORD, None)],
)
def test_passwords_that_are_easy_to_guess_are_rejected(password, code):
    assert [error.code for error in passwords.errors(password)] == ([code] if code else [])


@pytest.mark.parametrize("password", ["kim@acme.example", "Kim@Acme.Example", "kim@acme.example1"])
def test_own_address_is_easy_to_guess(password):
    assert [error.code for error in passwords.errors(password, "kim@acme.example")] == ["too_common"]
