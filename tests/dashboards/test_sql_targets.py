"""Every SQL query of every dashboard is executed by a real PostgreSQL, as Grafana's role, on rows of everything."""

import re

import pytest
from psycopg import sql

from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import Sql
from keygauge_dashboards.thresholds import Thresholds

ONE = {
    "trace:sqlstring": "'ff'",
    "bucket": "1h",
    "account:sqlstring": "'a1'",
    "key:sqlstring": "'k1'",
    "endpoint:regex": "/v1",
    "model:regex": "gpt",
}
EVERY = {
    "trace:sqlstring": "''",
    "bucket": "1d",
    "account:sqlstring": "'a1','a2'",
    "key:sqlstring": "'k1','k2','anonymous'",
    "endpoint:regex": ".*",
    "model:regex": ".*",
}
NONE = {**EVERY, "account:sqlstring": "", "key:sqlstring": ""}  # before there is a key
ARGUMENT = r"((?:[^(),]|\([^()]*\))+)"
MACROS = (  # as Grafana expands them, but for the range
    (r"\$__interval\b", "'15m'"),
    (r"\$__timeFrom\(\)", "to_char(now() - interval '6 hours', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')"),
    (r"\$__timeTo\(\)", "to_char(now() + interval '1 minute', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')"),
    (rf"\$__timeFilter\({ARGUMENT}\)", r"\1 BETWEEN now() - interval '6 hours' AND now() + interval '1 minute'"),
    (rf"\$__timeGroup\({ARGUMENT}, '1d'\)", r"floor(extract(epoch from \1)/86400)*86400"),
    (rf"\$__timeGroup\({ARGUMENT}, '1h'\)", r"floor(extract(epoch from \1)/3600)*3600"),
    (rf"\$__timeGroup\({ARGUMENT}, '15m'\)", r"floor(extract(epoch from \1)/900)*900"),
)
EVENT = {
    "id": "00000000-0000-7000-8000-000000000001",
    "account_id": "a1",
    "key_id": "k1",
    "route": "/v1",
    "method": "POST",
    "status": 429,
    "ip": "192.0.2.1",
    "duration_us": 1000,
    "request_bytes": 1,
    "response_bytes": 1,
    "model": "gpt",
    "input_tokens": 1,
    "output_tokens": 2,
    "usage_status": "reported",
    "cost_nanousd": 700,
    "outcome": "limited",
    "trace_id": "ff",
}


@pytest.fixture
def grafana(connection):
    """A connection as Grafana's role, to a database with a row of everything."""
    connection.execute("INSERT INTO plan (id, name) VALUES ('free', 'Free')")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('a1', 'Ada', 'free')")
    connection.execute(
        "INSERT INTO key (id, account_id, name, created_at, expires_at) VALUES ('k1', 'a1', 'prod', now(), now() + "
        "interval '2 days'), ('k2', 'a1', 'old', now() - interval '60 days', NULL)"
    )
    connection.execute("UPDATE key SET last_used_at = now() - interval '40 days' WHERE id = 'k1'")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period) VALUES ('free', 'm', 'token', 9, 'day')"
    )
    connection.execute("INSERT INTO limit_state (id, account_id) SELECT id || ':a1', 'a1' FROM plan_limit")
    connection.execute("CREATE TABLE event_rest PARTITION OF event DEFAULT")
    columns = sql.SQL(", ").join(map(sql.Identifier, EVENT))
    values = sql.SQL(", ").join(map(sql.Literal, EVENT.values()))
    connection.execute(sql.SQL("INSERT INTO event (time, {}) VALUES (now(), {})").format(columns, values))
    connection.execute(
        "INSERT INTO audit (account_id, actor, action, subject) VALUES ('a1', 'ada@x.org', 'key.create', 'k1')"
    )
    connection.execute(
        "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
        "VALUES ('r1', 'api', 'h1', '1.0', 'enforce', now(), now())"
    )
    connection.execute(
        "INSERT INTO rollup VALUES (now(), 'a1', 'k1', '/v1', 'gpt', 2, 10, 1, 100, 200, 30, 0, 5, 1000, 2000, 50000, "
        "12345, array_fill(1, ARRAY[20]))"
    )
    connection.execute(
        "INSERT INTO margin SELECT * FROM margin_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    )
    connection.execute("UPDATE key SET rotate_every_days = 30 WHERE id = 'k1'")
    connection.execute("INSERT INTO key_secret VALUES ('k1', 1, '', 1, NULL, now() - interval '40 days', NULL)")
    connection.execute("INSERT INTO spool VALUES ('s1', 9, now(), 'r1', 'api', 'h1', now())")
    connection.execute(
        "INSERT INTO spool_hour (spool_id, hour, requests, taken_at, reported_requests, reported_at, written) "
        "VALUES ('s1', now(), 8, now(), 10, now(), 9)"
    )
    connection.execute(sql.SQL("SET ROLE keygauge_grafana"))
    connection.execute("SET search_path = grafana")
    return connection


def _queries():
    for page in pages(Thresholds()):
        for view in page.views():
            for target in view.targets:
                if isinstance(target, Sql):
                    yield pytest.param(target.query, target.over_time, id=f"{page.uid}: {view.title}")
    for annotation in pages(Thresholds())[0].annotations:
        if "rawSql" in annotation["target"]:
            yield pytest.param(annotation["target"]["rawSql"], True, id=f"annotation: {annotation['name']}")


@pytest.mark.parametrize("variables", [EVERY, ONE], ids=["all", "one"])
@pytest.mark.parametrize(("query", "over_time"), list(_queries()))
def test_query_returns_rows(grafana, query, over_time, variables):
    rows = grafana.execute(_fill(query, variables)).fetchall()
    assert rows
    assert any(value for row in rows for value in row.values())
    if over_time:
        assert all(row["time"] for row in rows)


@pytest.mark.parametrize("query", [parameter.values[0] for parameter in _queries()])
def test_query_can_be_asked_before_there_is_a_key(grafana, query):
    grafana.execute(_fill(query, NONE))


@pytest.mark.parametrize("query", [parameter.values[0] for parameter in _queries()])
def test_query_has_a_name_and_reads_views_only(query):
    assert re.match(r"/\* [a-z]+\.[a-z_]+ \*/\n", query)
    tables = re.findall(r"(?<!epoch )\b(?:FROM|JOIN)\s+(?!\()([\w.]+)", query)
    assert tables
    named_here = set(re.findall(r"(?:\bWITH |\), )(\w+) AS \(", query))
    assert all(table.startswith("grafana.") or table in named_here for table in tables)


def _fill(query, variables):
    for name, value in variables.items():
        query = query.replace(f"${{{name}}}", value).replace(f"${name}'", f"{value}'")
    for macro, replacement in MACROS:
        query = re.sub(macro, replacement, query)
    assert not re.search(r"\$[\w{]", query)
    return query


def test_queries_of_the_runbook_can_be_executed(grafana, root):
    queries = re.findall(
        r'^\$ psql "\$KEYGAUGE_DATABASE_URL" -c "(.+)"$', (root / "docs/runbook.md").read_text(), re.MULTILINE
    )
    assert len(queries) > 20
    for query in queries:
        grafana.execute(query)
