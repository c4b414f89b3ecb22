"""Transient errors of PostgreSQL are a 503 with `Retry-After` for replicas, operators and visitors."""

import pytest
from psycopg import errors

from keygauge.key import digest

TRANSIENT_SQLSTATES = (
    *("08000", "08003", "08006", "08007", "08P01"),  # broken connections, or with an unknown outcome
    *("25006", "25P03", "25P04"),  # read-only, timeouts of idle and of long transactions
    *("40001", "40003", "40P01"),  # serialization failure, completion unknown, deadlock
    *("53000", "53100", "53200", "53300", "53400"),  # disk full, out of memory, too many connections
    *("55000", "55006", "55P03", "57014"),  # wrong state, in use, lock timeout, statement timeout
    *("57000", "57P01", "57P02", "57P03", "57P04", "57P05"),  # shutdown, crash, startup, dropped, idle timeout
    *("58000", "58030", "58P01", "58P02", "72000"),  # system and I/O errors, snapshot too old
    *("XX000", "XX001", "XX002"),  # internal errors of PostgreSQL
    *("3F000", "42P01", "42703", "42883", "42501"),  # half restored, of another version, or without privileges
    *("0A000", "26000", "42P05"),  # prepared statements that a migration or a pooler made invalid
)


@pytest.fixture
def fail(connection):
    """`fail(table, state)` makes every read and write of a table fail with an SQLSTATE."""

    def fail(table, state):
        connection.execute(
            "CREATE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END $$"
        )
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {table}_before WHERE fail()")

    return fail


@pytest.mark.parametrize("state", TRANSIENT_SQLSTATES)
def test_transient_errors_are_503_with_retry_after(client, visitor, customer, operator, replica, fail, state):
    assert visitor.sign_in(customer).status_code == 303
    fail("account", state)
    beat = {"replica": "a" * 32, "service": "x", "host": "h", "version": "0", "mode": "enforce", "cursor": None}
    look_up = {"look_up": [{"key": customer.key.id, "digest": digest(customer.token).hex()}]}
    answers = {
        "replica": client.post("/v1/heartbeat", json=beat | look_up, headers=replica),
        "operator": client.get("/v1/accounts", headers=operator),
        "visitor": visitor.get("/"),
        "writer": client.post("/v1/accounts", json={"name": "A", "plan": "pro"}, headers=operator),
    }
    seen = {name: (answer.status_code, answer.headers.get("Retry-After")) for name, answer in answers.items()}
    assert seen == dict.fromkeys(answers, (503, "1")), errors.lookup(state)
