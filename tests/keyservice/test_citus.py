"""What distributing the ledger with Citus requires of its queries and functions, tested without Citus."""

import ast
import re
from pathlib import Path

import pytest

import keygauge_keyservice
from keygauge_keyservice import citus, retention
from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.usage import call_log, query
from keygauge_keyservice.usage.query import Question

VIEW = "rollup"  # of the distributed rollup_recent and rollup_packed
DISTRIBUTED = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|COPY|USING|ONLY|TABLE)\s+\"?({'|'.join((*citus.TABLES, VIEW))})\b")
LOCAL = r"(account|key|plan|plan_limit|member|invoice|limit_state|spool|key_address)"
READS_LOCAL = re.compile(rf"\b(?:FROM|JOIN|USING)\s+{LOCAL}\b")
WRITES_LOCAL = re.compile(rf"\b(?:INTO|UPDATE|DELETE FROM)\s+{LOCAL}\b")
WRITES = re.compile(rf"\b(?:INTO|UPDATE|DELETE FROM)\s+({'|'.join(citus.TABLES)})\b")
VOLATILE = re.compile(r"\b(clock_timestamp|timeofday|random|gen_random_uuid|nextval|setval|pg_advisory_\w+)\(")
OF_THE_SYSTEM = re.compile(r"\b(ctid|tableoid|xmin|xmax|cmin|cmax)\b")
UNNAMED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING|ONLY|TABLE)\s+\{\w*\}")


def texts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
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


IN_PARTS = {"calls.page", "calls.edge"}


def composed():
    """Yield the statements whose table is a parameter, or that consist of parts."""
    for order in call_log._ORDERS.values():
        yield from (order.page, order.edge)
    question = Question(account_id=None, key=None, route=None, model=None, group_by=("account",))
    for source in query.SOURCES:
        for when in (query._IN_ROW, query._APART):
            yield query._write(question, source, when).as_string()


def statements():
    """Yield the names and texts of all statements."""
    for file in sorted(Path(keygauge_keyservice.__file__).parent.rglob("*.py")):
        for text in texts(ast.parse(file.read_text())):
            if name := re.search(r"/\* (.*?) \*/", text):
                yield name[1], text


def queries():
    """Yield the statements on distributed tables, with their query names as ids."""
    for name, text in statements():
        if DISTRIBUTED.search(text) and name not in IN_PARTS:
            yield pytest.param(text, id=name)
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


def test_tables_are_named_where_these_rules_can_see_them():
    """A statement whose table is a parameter needs a test of its own here, or tables that are never distributed."""
    assert {name for name, text in statements() if UNNAMED.search(text)} == {
        "accounts.empty",  # of an account without calls
        "retention.prune",  # below
        *("tag_counters.look", "tag_counters.delete"),  # of limit_state
        "{title}",  # composed() has all
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
    assert not re.search(r"\bOFFSET 0\b|\bWITH RECURSIVE\b|\bGROUPING SETS\b|\bTRUNCATE\b|\bLOCK TABLE\b", statement)
    assert not OF_THE_SYSTEM.search(statement)
    assert not WRITES_LOCAL.search(statement), "a write to the coordinator that reads the workers"
    if WRITES.search(statement):
        assert not READS_LOCAL.search(statement), "a write that reads a table of the coordinator"
        assert not VOLATILE.search(statement), "a write whose result depends on which machine runs it"
    if re.search(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b", statement):
        assert re.search(r"account_id = %(s|\(account\)s)", statement), "a lock on more than one account"


@pytest.mark.parametrize("table", citus.TABLES)
def test_tables_have_no_constraint_that_would_span_machines(connection, table):
    rows = connection.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND %(table)s::regclass IN (conrelid, confrelid) "
        "UNION ALL SELECT tgname FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal "
        "UNION ALL SELECT indexrelid::regclass::text FROM pg_index "
        "WHERE indrelid = %(table)s::regclass AND indisunique "
        "AND NOT indkey::smallint[] @> (SELECT array_agg(attnum) FROM pg_attribute "
        "WHERE attrelid = indrelid AND attname = 'account_id' AND attnotnull)",
        {"table": table},
    )
    assert rows.fetchall() == []


def test_sql_functions_on_distributed_tables_are_planned_by_themselves(connection):
    """PostgreSQL would inline them into a query that Citus has already taken for one without distributed tables."""
    views = connection.execute(
        "SELECT viewname AS name FROM pg_views WHERE schemaname IN ('public', 'grafana') AND definition ~ %s",
        (rf"\m({'|'.join(citus.TABLES)})\M",),
    )
    names = {*citus.TABLES, VIEW, *(row["name"] for row in views)}
    functions = connection.execute(
        "SELECT pg_proc.oid::regprocedure::text AS name FROM pg_proc JOIN pg_language ON pg_language.oid = prolang "
        "WHERE pronamespace IN ('public'::regnamespace, 'grafana'::regnamespace) AND lanname = 'sql' AND prosrc ~ %s",
        (rf"\m(FROM|JOIN)\s+(grafana\.)?({'|'.join(names)})\M",),
    ).fetchall()
    listed = connection.execute(
        "SELECT name::regprocedure::text FROM unnest(%s::text[]) AS name", (list(citus.FUNCTIONS),)
    )
    assert {row["name"] for row in functions} == {row["name"] for row in listed}


@pytest.fixture
def used(connection, metered, make_event):
    events = [make_event(offset, model=model) for offset in (0, 1, 90_000, -200_000) for model in (None, "m1", "m2")]
    backfill.write_history(connection, events, lambda _: Cost(1_500, "test"), spool="test")


NAMES = "'{acme}', '{acme-live}', '{/v1/chat/completions}', '{m1,no model}'"
CALLS = (
    "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,86400}') ORDER BY 1, 2, 3, 4, 5, 6",
    "SELECT * FROM grafana.usage('model', '2026-05-01', '2026-06-01', '1 day', NULL) ORDER BY 1, 2, 3, 4",
    "SELECT * FROM grafana.usage('route', '2026-05-01', '2026-06-01', '1 h', '{m1}') ORDER BY 1, 2, 3, 4",
    f"SELECT * FROM grafana.latency('2026-05-01', '2026-06-01', '1 h', {NAMES}) ORDER BY 1",
    f"SELECT * FROM grafana.latency('2026-05-20 10:00Z', '2026-05-20 14:00Z', '1 h', {NAMES}) ORDER BY 1",
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
