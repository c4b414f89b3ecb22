import time

import pytest

HOUR = int(time.time()) // 3_600 * 3_600
REPORT = {
    "spool": "a1",
    "replica": "b2" * 16,
    "service": "shop",
    "host": "h1",
    "written": 7,
    "hours": [{"hour": HOUR, "requests": 7, "input_tokens": 70, "output_tokens": 8}],
}


@pytest.fixture
def post(client, replica):
    return lambda report, headers=None: client.post("/v1/reports", json=report, headers=headers or replica)


def kept(connection):
    rows = connection.execute(
        "SELECT extract(epoch FROM hour)::bigint AS hour_s, reported_requests, reported_input_tokens, "
        "reported_output_tokens, written FROM spool_hour ORDER BY hour"
    )
    return [tuple(row.values()) for row in rows]


def test_a_report_is_kept(post, connection):
    answer = post(REPORT)
    assert (answer.status_code, answer.json) == (200, {})
    assert kept(connection) == [(HOUR, 7, 70, 8, 7)]
    row = connection.execute("SELECT replica, service, host, next FROM spool").fetchone()
    assert tuple(row.values()) == (REPORT["replica"], "shop", "h1", 0)


def test_counts_only_grow_so_a_late_report_changes_nothing(post, connection):
    newer = {**REPORT, "written": 9, "hours": [{**REPORT["hours"][0], "requests": 9}]}
    for report in (newer, REPORT, newer):
        assert post(report).status_code == 200
    assert kept(connection) == [(HOUR, 9, 70, 8, 9)]


def test_hours_that_no_event_can_be_of_are_passed_over(post, connection):
    hours = [{**REPORT["hours"][0], "hour": hour} for hour in (0, HOUR - 402 * 86_400, HOUR, HOUR + 30 * 3_600)]
    assert post({**REPORT, "hours": hours}).status_code == 200
    assert [row[0] for row in kept(connection)] == [HOUR]
