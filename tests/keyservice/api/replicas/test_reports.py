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


@pytest.mark.parametrize(
    "wrong",
    [
        {"spool": "not hex"},
        {"spool": None},
        {"replica": ""},
        {"service": "a\nb"},
        {"host": "x" * 201},
        {"written": -1},
        {"written": True},
        {"hours": {}},
        {"hours": [1]},
        {"hours": [{"hour": HOUR}]},
        {"hours": [{**REPORT["hours"][0], "requests": -1}]},
        {"hours": [{**REPORT["hours"][0], "hour": HOUR + 1}]},
        {"hours": [{**REPORT["hours"][0], "input_tokens": 2**60}]},
        {"hours": REPORT["hours"] * 2},
        {"hours": [{**REPORT["hours"][0], "hour": HOUR + n * 3_600} for n in range(501)]},
    ],
)
def test_invalid_report_is_rejected_as_a_whole(post, connection, wrong):
    answer = post({**REPORT, **wrong})
    assert (answer.status_code, answer.json["code"]) == (422, "bad_report")
    assert kept(connection) == []


def test_only_replicas_may_send_reports(post, operator, client):
    assert post(REPORT, headers=operator).status_code == 401
    assert client.post("/v1/reports", data=b"{").status_code == 401
