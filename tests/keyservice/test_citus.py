"""What distributing the ledger with Citus requires of its queries and functions, tested without Citus."""

import ast
import re
from pathlib import Path

import pytest

import keygauge_keyservice
from keygauge_keyservice import citus
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost

DISTRIBUTED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|COPY)\s+({'|'.join(citus.TABLES)})\b")
LOCAL = re.compile(r"\b(?:FROM|JOIN)\s+(account|key|plan|plan_limit|member|invoice|limit_state|spool)\b")


def texts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def queries():
    """Yield the statements on distributed tables, with their query names as ids."""
    for file in sorted(Path(keygauge_keyservice.__file__).parent.rglob("*.py")):
        for text in texts(ast.parse(file.read_text())):
            if (name := re.search(r"/\* (.*?) \*/", text)) and DISTRIBUTED.search(text):
                yield pytest.param(text, id=name[1])


QUERIES = list(queries())


def test_queries_on_distributed_tables_are_found():
    assert {"rollup.add", "rollup.pack", "usage_aggregate.add", "event.copy", "rerate.write"} <= {
        query.id for query in QUERIES
    }


@pytest.mark.parametrize("query", QUERIES)
def test_queries_on_distributed_tables_name_the_account_and_avoid_what_citus_rejects(query):
    assert "account_id" in query
    parts = re.split(r"\bLATERAL\b", query)
    assert not any(DISTRIBUTED.search(part[: part.rfind(")")]) for part in parts[1:-1]), (
        "LATERAL over a distributed table"
    )
    assert "OFFSET 0" not in query
    if query.lstrip().startswith("/*") and re.search(r"\bINSERT INTO\b", query):
        assert not LOCAL.search(query), "a write that reads a table of the coordinator"
    if re.search(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b", query):
        assert re.search(r"account_id = %(s|\(account\)s)", query), "a lock on more than one account"


@pytest.fixture
def used(connection, metered, make_event):
    events = [make_event(offset, model=model) for offset in (0, 1, 90_000, -200_000) for model in (None, "m1", "m2")]
    backfill.write_history(connection, events, lambda _: Cost(1_500, "test"), spool="test")


CALLS = (
    "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,86400}') ORDER BY 1, 2, 3, 4, 5, 6",
    "SELECT * FROM grafana.usage('model', '2026-05-01', '2026-06-01', '1 day', NULL) ORDER BY 1, 2, 3, 4",
    "SELECT * FROM grafana.usage('route', '2026-05-01', '2026-06-01', '1 h', '{m1}') ORDER BY 1, 2, 3, 4",
)


@pytest.mark.usefixtures("used")
def test_functions_return_the_same_rows_in_plpgsql(connection):
    before = [connection.execute(call).fetchall() for call in CALLS]
    assert all(before)
    for _ in range(2):
        for signature in citus.FUNCTIONS:
            citus.plan_by_itself(connection, signature)
    assert [connection.execute(call).fetchall() for call in CALLS] == before
    rows = connection.execute(
        "SELECT lanname FROM pg_proc JOIN pg_language ON pg_language.oid = prolang "
        "WHERE pg_proc.oid = ANY(%s::regprocedure[]::oid[])",
        (list(citus.FUNCTIONS),),
    )
    assert {row["lanname"] for row in rows} == {"plpgsql"}


def test_distribute_without_the_extension_fails_and_changes_nothing(connection):
    with pytest.raises(citus.CitusError, match="CREATE EXTENSION citus"):
        citus.distribute(connection)
    assert citus.complaints(connection) == []
