import pytest
from scripted import scripted

from keygauge.settings.settings import Settings
from keygauge.sync.key_status import AT_ONCE, PATH, KeyStatus


@pytest.fixture
def ask(tmp_path):
    """`ask(*answers)` asks once for each answer: what the caller is told, and what was asked."""

    def ask(*answers):
        with scripted(*answers) as service:
            status = KeyStatus(Settings(service_url=service.url, service_token="t" * 20, spool_dir=tmp_path))
            told = [status.ask(b"{}") for _ in answers]
            status.stop()
        return told, service.asked

    return ask


def test_what_the_key_service_says_to_the_caller_is_handed_on(ask):
    told, asked = ask((200, {"a": 1}), (401, {}), (429, {"b": 2}))
    assert told == [(200, b'{"a": 1}'), (401, b"{}"), (429, b'{"b": 2}')]
    assert asked == [(PATH, b"{}")] * 3


def test_what_is_between_the_two_services_is_not(ask):
    assert ask((500, {"detail": "inside"}), (404, {}), (503, {}))[0] == [None] * 3


def test_a_key_service_that_is_away_and_too_many_who_ask_are_told_apart_from_none(tmp_path):
    status = KeyStatus(Settings(service_url="http://127.0.0.1:1", service_token="t" * 20, spool_dir=tmp_path))
    for _ in range(2 * AT_ONCE):
        assert status.ask(b"{}") is None
    assert len(status._idle) == 1  # each gave its turn and its connection back
    for _ in range(AT_ONCE):
        assert status._turns.acquire(blocking=False)
    assert status.ask(b"{}") is None
    status.stop()
