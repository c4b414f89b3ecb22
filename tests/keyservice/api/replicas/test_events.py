import gzip
import time

import pytest
from memory import peaks_below

from keygauge_keyservice.api.replicas import events

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def lines(make_line):
    now_us = time.time_ns() // 1_000
    return [make_line(time_us=now_us + number) + b"\n" for number in range(5)]


@pytest.fixture
def post(client, replica):
    def post(body, query="spool=0a1b&first=0", headers=None):
        return client.post(f"/v1/events?{query}", data=body, headers={**replica, **(headers or {})})

    return post


def test_batch_is_accepted(post, lines, connection, app):
    lines[2] = b"nonsense\n"
    answer = post(b"".join(lines))
    assert answer.json == {"next": 5, "accepted": 4, "refused": [{"number": 2, "code": "bad_json"}]}
    assert connection.execute("SELECT count(*) AS n FROM event").fetchone() == {"n": 4}
    registry = app.extensions["keygauge"].registry
    assert registry.get_sample_value("keygauge_ledger_events_total") == 4
    assert registry.get_sample_value("keygauge_ledger_refused_total", {"reason": "bad_json"}) == 1
    assert post(b"".join(lines)).json == {"next": 5, "accepted": 0, "refused": []}
    assert registry.get_sample_value("keygauge_ledger_duplicates_total") == 5
    assert registry.get_sample_value("keygauge_ledger_batch_duration_seconds_count") == 2
    assert 0 <= registry.get_sample_value("keygauge_ledger_lag_seconds") < 60


def test_compressed_batch_is_accepted(post, lines):
    answer = post(gzip.compress(b"".join(lines)), headers={"Content-Encoding": "gzip"})
    assert answer.json["accepted"] == 5


def test_full_batch_may_be_larger_than_other_bodies(post, make_line):
    line = make_line(time_us=time.time_ns() // 1_000, route="/" + "x" * 500) + b"\n"
    assert post(line * events.LINES_MAX).json["accepted"] == events.LINES_MAX


def test_compressed_empty_lines_use_bounded_memory(post):
    body = gzip.compress(b"\n" * events.BATCH_BYTES_MAX, mtime=0)

    def refuse():
        assert post(body, headers={"Content-Encoding": "gzip"}).json["code"] == "batch_too_large"

    assert peaks_below(4 * events.BATCH_BYTES_MAX, refuse)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 422, "bad_batch"),
        (b"[1,2", {}, 422, "bad_batch"),
        (b"\n" * (events.LINES_MAX + 1), {}, 413, "batch_too_large"),
        (b"x" * events.BATCH_BYTES_MAX + b"\n", {}, 413, "batch_too_large"),
        (b"not gzip", {"Content-Encoding": "gzip"}, 422, "bad_batch"),
        (gzip.compress(b"x\n", mtime=0)[:-4], {"Content-Encoding": "gzip"}, 422, "bad_batch"),
        (gzip.compress(b"x\n", mtime=0) + b"more", {"Content-Encoding": "gzip"}, 422, "bad_batch"),
        (gzip.compress(b"\0" * (100 << 20), mtime=0), {"Content-Encoding": "gzip"}, 413, "batch_too_large"),
        (b"x\n", {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
        (b"x\n", {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
    ],
)
def test_invalid_batch_is_rejected_as_a_whole(post, connection, body, headers, status, code):
    answer = post(body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert connection.execute("SELECT count(*) AS n FROM spool").fetchone() == {"n": 0}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "spool=0a",
        "first=0",
        "spool=xyz&first=0",
        "spool=0a&first=-1",
        "spool=0a&first=9" + "9" * 18,
        "spool=0a&first=9007199254740993",
    ],
)
def test_batch_needs_its_spool_and_position(post, lines, query):
    answer = post(b"".join(lines), query=query)
    assert (answer.status_code, answer.json["code"]) == (422, "bad_batch")


def test_operators_cannot_send_events(client, operator):
    assert client.post("/v1/events?spool=0a&first=0", data=b"x\n", headers=operator).status_code == 401


def test_batch_sent_again_after_a_lost_database_connection_counts_once(post, lines, connection, app):
    post(b"".join(lines))
    with app.extensions["keygauge"].connection() as pooled:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pooled.info.backend_pid,))
    answers = [post(b"".join(lines), query="spool=0c&first=0").status_code for _ in range(3)]
    assert set(answers) <= {200, 503}
    assert answers[-1] == 200
    assert connection.execute("SELECT sum(requests)::int AS n FROM rollup").fetchone() == {"n": 10}


def test_spool_that_another_process_sends_is_rejected_without_loss(post, lines, connection):
    assert post(b"".join(lines[:3]), query="spool=0a&first=0&owner=0a").json["next"] == 3
    answer = post(b"".join(lines), query="spool=0a&first=0&owner=0b")
    assert (answer.status_code, answer.json["code"]) == (409, "spool_claimed")
    assert post(lines[3], query="spool=0a&first=3&owner=0a").json["next"] == 4
    connection.execute("UPDATE spool SET updated_at = updated_at - interval '4 seconds'")  # its process is dead
    assert post(b"".join(lines), query="spool=0a&first=0&owner=0b").json == {"next": 5, "accepted": 1, "refused": []}
    assert post(lines[4], query="spool=0a&first=5&owner=0a").status_code == 409  # now the other way round
    assert post(lines[4], query="spool=0a&first=4").json["next"] == 5  # a sender without `owner`
    assert connection.execute("SELECT count(*) AS n FROM event").fetchone() == {"n": 5}


def test_owner_must_be_a_spool_id(post, lines):
    assert post(lines[0], query="spool=0a&first=0&owner=me").json["code"] == "bad_batch"
