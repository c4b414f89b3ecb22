import pytest
from scripted import scripted

from keygauge.settings.settings import Settings
from keygauge.sync.key_status import AT_ONCE, PATH, KeyStatus


@pytest.fixture
def ask(tmp_path):
    """Return `ask(*answers)`, which asks once per answer and returns the results and the requests."""

    def ask(*answers):
        with scripted(*answers) as service:
            status = KeyStatus(Settings(service_url=service.url, service_token="t" * 20, spool_dir=tmp_path))
            told = [status.ask(b"{}") for _ in answers]
            status.stop()
        return told, service.asked

    return ask


def test_answers_meant_for_the_caller_are_passed_on(ask):
    told, asked = ask((200, {"a": 1}), (401, {}), (429, {"b": 2}))
    assert told == [(200, b'{"a": 1}'), (401, b"{}"), (429, b'{"b": 2}')]
    assert asked == [(PATH, b"{}")] * 3


def test_errors_between_the_services_are_not_passed_on(ask):
    assert ask((500, {"detail": "inside"}), (404, {}), (503, {}))[0] == [None] * 3


def test_no_answer_if_the_key_service_is_away_or_too_many_ask(tmp_path):
    status = KeyStatus(Settings(service_url="http://127.0.0.1:1", service_token="t" * 20, spool_dir=tmp_path))
    for _ in range(2 * AT_ONCE):
        assert status.ask(b"{}") is None
    assert len(status._idle) == 1  # each request gave back its turn and its connection
    for _ in range(AT_ONCE):
        assert status._turns.acquire(blocking=False)
    assert status.ask(b"{}") is None
    status.stop()
