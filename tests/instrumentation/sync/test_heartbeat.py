"""Heartbeats of one process to a scripted key service, sent without a thread."""

import json
from dataclasses import replace

import pytest
from scripted import scripted

from keygauge.limits.refusal import REPLACED, UNKNOWN
from keygauge.settings.settings import Settings
from keygauge.sync.heartbeat import Heartbeat

QUIET = {"found": [], "unknown": [], "keys": [], "plans": [], "held": [], "grants": [], "denials": [], "wanted": []}
ANSWER = QUIET | {"cursor": 7, "epoch": "e", "more": False, "afresh": False, "t_max_ms": 10_000, "replicas": 1}
DIGEST = b"\1" * 32


@pytest.fixture
def beat(tmp_path):
    """Return `beat(*answers)`, which sends a heartbeat per answer: the `Heartbeat`, the requests, which succeeded."""

    def beat(*answers, prepare=lambda heartbeat: None):
        with scripted(*answers) as service:
            settings = Settings(service_url=service.url, service_token="t" * 20, spool_dir=tmp_path, host="h")
            heartbeat = Heartbeat(settings, on_fault=print, streams=())
            prepare(heartbeat)
            answered = [heartbeat._heartbeat(stopping=False) for _ in answers]
            heartbeat._client.close()
        return heartbeat, [json.loads(body) for _, body in service.asked], answered

    return beat


def test_the_next_heartbeat_continues_from_the_last_cursor(beat):
    heartbeat, (first, second), answered = beat((200, ANSWER), (200, ANSWER | {"cursor": 9}))
    assert (first["cursor"], first["epoch"], first["host"]) == (None, None, "h")
    assert (second["cursor"], second["epoch"], second["replica"]) == (7, "e", first["replica"])
    assert answered == [True, True]
    assert not heartbeat.admission.away


def test_a_looked_up_key_is_stored_as_known_or_unknown(beat):
    waiting = []

    def ask(heartbeat):
        waiting.extend(heartbeat.look_up(DIGEST, "k1", "192.0.2.1") for _ in range(2))

    heartbeat, (asked,), _ = beat((200, ANSWER | {"unknown": [DIGEST.hex()]}), prepare=ask)
    assert asked["look_up"] == [{"key": "k1", "digest": DIGEST.hex()}]
    assert waiting[0] is waiting[1]
    assert waiting[0].result(timeout=0) is True
    assert heartbeat.admission.key_cache.find_unknown(DIGEST, heartbeat.admission.clock()) is UNKNOWN
    past = {"unknown": [DIGEST.hex()], "replaced": [{"digest": DIGEST.hex(), "ended_at": 1}]}
    heartbeat, _, _ = beat((200, ANSWER | past), prepare=ask)
    refusal = heartbeat.admission.key_cache.find_unknown(DIGEST, heartbeat.admission.clock())
    assert refusal == replace(REPLACED, since_s=1)
    known, _, _ = beat((200, ANSWER | {"found": [{"digest": DIGEST.hex(), "key": "k1", "secret": 3}]}), prepare=ask)
    assert known.admission.key_cache.credentials[DIGEST] == ("k1", 3)


def test_an_unreachable_key_service_is_logged_once_and_waiting_calls_wake(beat, caplog):
    waiting = []

    def ask(heartbeat):
        waiting.append(heartbeat.look_up(DIGEST, "k1", None))

    heartbeat, _, answered = beat((503, {}), (503, {}), (200, ANSWER), prepare=ask)
    assert answered == [False, False, True]
    assert waiting[0].result(timeout=0) is False
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "Key service unreachable",
        "Key service reachable again",
    ]
    assert not heartbeat.admission.away


def test_an_invalid_answer_does_not_stop_heartbeats(beat, caplog):
    heartbeat, asked, answered = beat((200, {"cursor": 1}), (200, ANSWER))
    assert answered == [False, True]
    assert (asked[1]["cursor"], heartbeat.epoch) == (None, "e")
    assert "beat failed" in caplog.text


def test_every_key_is_looked_up_again_after_a_restore(beat):
    def know(heartbeat):
        entry = {"id": "k1", "account": "a", "plan": "p", "status": "active", "expires_at": None, "limits": []}
        entry |= {"secrets": [{"number": 1, "expires_at": None}]}
        heartbeat.admission.key_cache.put([entry], wanted=frozenset(["k1"]))
        heartbeat.admission.key_cache.learn(DIGEST, "k1", 1)

    heartbeat, _, _ = beat((200, ANSWER | {"afresh": True}), prepare=know)
    cache = heartbeat.admission.key_cache
    assert cache.keys == {}
    assert cache.recall(DIGEST, heartbeat.admission.clock()) is not None
