"""What distributing the ledger with Citus requires of its queries and functions, tested without Citus."""

import ast
import re
from pathlib import Path

import pytest

import keygauge_keyservice
from keygauge_keyservice import citus, retention
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.usage import query
from keygauge_keyservice.usage.query import Question

VIEW = "rollup"  # of the distributed rollup_recent and rollup_packed
DISTRIBUTED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|COPY)\s+\"?({'|'.join((*citus.TABLES, VIEW))})\b")
LOCAL = re.compile(r"\b(?:FROM|JOIN)\s+(account|key|plan|plan_limit|member|invoice|limit_state|spool)\b")


def texts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def lateral(statement):
    """Yield what follows each LATERAL, up to the end of its parentheses."""
    for found in re.finditer(r"\bLATERAL\b", statement):
        depth = 0
        for place in range(found.end(), len(statement)):
            depth += {"(": 1, ")": -1}.get(statement[place], 0)
            if statement[place] == ")" and depth == 0:
                break
        yield statement[found.end() : place]


def test_lateral_joins_are_found():
    assert list(lateral("SELECT (1) FROM a, LATERAL (SELECT (2) FROM event) AS b, LATERAL f(c) WHERE (x)")) == [
        " (SELECT (2) FROM event",
        " f(c",
    ]


def composed():
    """Yield the statements whose table is a parameter."""
    question = Question(account_id=None, key=None, route=None, model=None, group_by=("account",))
    for source in query.SOURCES:
        for when in (query._IN_ROW, query._APART):
            yield query._write(question, source, when).as_string()


def queries():
    """Yield the statements on distributed tables, with their query names as ids."""
    for file in sorted(Path(keygauge_keyservice.__file__).parent.rglob("*.py")):
        for text in texts(ast.parse(file.read_text())):
            if (name := re.search(r"/\* (.*?) \*/", text)) and DISTRIBUTED.search(text):
                yield pytest.param(text, id=name[1])
    for text in composed():
        yield pytest.param(text, id=re.search(r"/\* (.*?) \*/", text)[1])


QUERIES = list(queries())


def test_queries_on_distributed_tables_are_found():
    assert {"usage.rollups", "usage.usage_aggregates", "usage.usage_tags", "billing.used"} <= {
        one.id for one in QUERIES
    }
    assert {"rollup.add", "rollup.pack", "usage_aggregate.add", "event.copy", "rerate.write"} <= {
        one.id for one in QUERIES
    }


def test_each_rule_of_retention_deletes_by_time_what_is_distributed():
    """A ctid is a row's place in one shard, so it would delete others in all shards."""
    statements = {rule.table: retention.statement(rule).as_string() for rule in retention.RULES}
    of_distributed = {table: text for table, text in statements.items() if DISTRIBUTED.search(text)}
    assert set(of_distributed) == {"usage_kind", "usage_tag"}
    assert not any("ctid" in text for text in of_distributed.values())


@pytest.mark.parametrize("statement", QUERIES)
def test_queries_on_distributed_tables_name_the_account_and_avoid_what_citus_rejects(statement):
    assert "account_id" in statement
    assert not any(DISTRIBUTED.search(part) for part in lateral(statement)), "LATERAL over a distributed table"
    assert not re.search(r"\bOFFSET 0\b|\bctid\b|\bWITH RECURSIVE\b|\bGROUPING SETS\b", statement)
    if statement.lstrip().startswith("/*") and re.search(r"\bINSERT INTO\b", statement):
        assert not LOCAL.search(statement), "a write that reads a table of the coordinator"
    if re.search(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b", statement):
        assert re.search(r"account_id = %(s|\(account\)s)", statement), "a lock on more than one account"


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
