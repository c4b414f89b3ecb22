"""The key service is unreachable: the API keeps its calls' records, and refuses calls once its authority ends."""

import time

import openai
import pytest

from keygauge_keyservice.accounts.plans import Limit

WIDE = Limit(name="rpm", unit="request", amount=100_000, window_s=60)
AUTHORITY_S = 10.0  # limits.md G4: no cached key is admitted longer than this after the last heartbeat


def status_of(client):
    try:
        client.models.list()
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def test_api_starts_without_its_key_service_and_recovers(cold_stack, eventually):
    key, token = cold_stack.create_key(WIDE)
    cold_stack.start_api()
    client = cold_stack.openai(token)
    with pytest.raises(openai.InternalServerError) as refused:
        client.models.list()
    assert (refused.value.status_code, refused.value.code) == (503, "key_service_unavailable")
    assert int(refused.value.response.headers["retry-after"]) >= 1
    assert cold_stack.metric("keygauge_requests_total", http_response_status_code="503") == 1
    cold_stack.start_service()
    eventually(lambda: status_of(client), 200)
    eventually(lambda: cold_stack.ledger(key.id)[-1:], [(200, "admitted")])


def test_key_service_is_killed_and_restarted(stack, eventually):
    limited_key, limited_token = stack.create_key(WIDE)
    free_key, free_token = stack.create_key()  # without limits, only its cached authorization ends
    calls = {
        key.id: Calls(stack.openai(token)) for key, token in ((limited_key, limited_token), (free_key, free_token))
    }
    assert {caller.call() for caller in calls.values() for _ in range(3)} == {200}
    stack.service.kill()
    died_at = time.monotonic()
    while time.monotonic() < died_at + AUTHORITY_S + 0.5:
        early = time.monotonic() < died_at + AUTHORITY_S - 2.5
        assert calls[free_key.id].call() == 200 or not early
        calls[limited_key.id].call()
        time.sleep(0.2)
    assert {caller.call() for caller in calls.values() for _ in range(3)} == {503}
    stack.start_service()
    for key_id, caller in calls.items():
        eventually(caller.call, 200)
        eventually(lambda key_id=key_id: stack.ledger(key_id, "status").count((200,)), caller.seen.count(200))
    for status in (200, 503):
        counted = stack.metric("keygauge_requests_total", http_response_status_code=str(status))
        assert counted == sum(caller.seen.count(status) for caller in calls.values())


class Calls:
    """A client's calls and their statuses."""

    def __init__(self, client):
        self.client = client
        self.seen = []

    def call(self):
        self.seen.append(status_of(self.client))
        return self.seen[-1]


def test_events_of_an_outage_reach_the_ledger_after_a_restart_of_both(stack, eventually):
    key, token = stack.create_key(WIDE)
    client = stack.openai(token)
    assert status_of(client) == 200
    stack.service.kill()
    answered = 1 + [status_of(client) for _ in range(5)].count(200)
    stack.api.kill()
    stack.start_service()
    stack.start_api()
    eventually(lambda: stack.ledger(key.id, "status").count((200,)), answered)
    time.sleep(1.5)  # a batch sent twice would have arrived by now
    assert stack.ledger(key.id, "status").count((200,)) == answered
