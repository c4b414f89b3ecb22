"""Every SQL query of every dashboard runs on a real PostgreSQL, as Grafana's role, with rows in every table."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from grafana import HOSTILE, All, Click, follow, options
from grafana import sql as as_sent
from psycopg import sql

from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import Sql
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import HEALTH_PAGE, KEY_PAGE, KEYS_PAGE, LOG_PAGE

ONE = {
    "address": "192.0.2.1",
    "trace": "ff",
    "before": "4102444800000",
    "status": ["429"],
    "owner": ["a1"],
    "account": ["a1"],
    "key": ["k1"],
    "endpoint": ["/v1"],
    "model": ["gpt"],
    "ledger_endpoint": ["/v1"],
    "ledger_model": ["gpt"],
}
EVERY = {
    "address": "",
    "trace": "",
    "before": "",
    "status": All(("2xx", "4xx", "429", "5xx")),
    "owner": All(("a1", "a2")),
    "account": All(("a1", "a2")),
    "key": All(("k1", "k2", "anonymous")),
    "endpoint": All(custom=".*"),
    "model": All(custom=".*"),
    "ledger_endpoint": All(("/v1",)),
    "ledger_model": All(("gpt", "no model")),
}
NONE = EVERY | dict.fromkeys(
    ("account", "owner", "key", "ledger_endpoint", "ledger_model"), All()
)  # before there is a key
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


NEW_ADDRESS = {
    "id": "00000000-0000-7000-8000-000000000002",
    "ip": "192.0.2.9",
    "status": 200,
    "outcome": "admitted",
}


@pytest.fixture
def grafana(connection):
    """A connection as Grafana's role, to a database with rows in every table."""
    _plant(connection, {})
    return connection


def _plant(connection, names):
    connection.execute("INSERT INTO plan (id, name) VALUES ('free', 'Free')")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES ('a1', 'Ada', 'free')")
    connection.execute(
        "INSERT INTO key (id, account_id, name, created_at, expires_at) VALUES ('k1', 'a1', 'prod', now(), now() + "
        "interval '2 days'), ('k2', 'a1', 'old', now() - interval '90 days', NULL)"
    )
    connection.execute("UPDATE key SET last_used_at = now() - interval '70 days' WHERE id = 'k1'")
    connection.execute(
        "INSERT INTO plan_limit (plan_id, name, unit, amount, period) VALUES ('free', 'm', 'token', 9, 'day')"
    )
    connection.execute("INSERT INTO limit_state (id, account_id) SELECT id || ':a1', 'a1' FROM plan_limit")
    connection.execute("CREATE TABLE event_rest PARTITION OF event DEFAULT")
    event = EVENT | names
    columns = sql.SQL(", ").join(map(sql.Identifier, event))
    values = sql.SQL(", ").join(map(sql.Literal, event.values()))
    connection.execute(sql.SQL("INSERT INTO event (time, {}) VALUES (now(), {})").format(columns, values))
    connection.execute(  # from an address not used with this key before
        sql.SQL("INSERT INTO event (time, {}) VALUES (now(), {})").format(
            columns, sql.SQL(", ").join(map(sql.Literal, (event | NEW_ADDRESS).values()))
        )
    )
    connection.execute(
        "INSERT INTO rollup_recent SELECT now() - interval '3 days', 'a1', 'k1', '/v1', '', 2, "
        "1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1e12"
    )
    connection.execute(
        "INSERT INTO audit (account_id, actor, action, subject) VALUES ('a1', 'ada@x.org', 'key.create', 'k1')"
    )
    connection.execute(
        "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
        "VALUES ('r1', 'api', 'h1', '1.0', 'enforce', now(), now())"
    )
    connection.execute(
        "INSERT INTO rollup_recent VALUES (now(), 'a1', 'k1', %s, %s, 2, 10, 1, 100, 200, 30, 0, 5, 1000, 2000, 50000, "
        "12345, 1e12)",
        (event["route"], event["model"]),
    )
    connection.execute(
        "INSERT INTO usage_aggregate SELECT * "
        "FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    )
    connection.execute("UPDATE key SET rotate_every_days = 30 WHERE id = 'k1'")
    connection.execute(
        "INSERT INTO usage_kind SELECT 'a1', 900, now(), 'k1', %s, %s, 2, 'images', 3",
        (event["route"], event["model"]),
    )
    connection.execute("INSERT INTO key_secret VALUES ('k1', 1, '', 1, NULL, now() - interval '40 days', NULL)")
    connection.execute(
        "INSERT INTO spool (id, next, updated_at, replica, service, host, reported_at) "
        "VALUES ('s1', 9, now(), 'r1', 'api', 'h1', now())"
    )
    connection.execute(
        "INSERT INTO spool_hour (spool_id, hour, requests, taken_at, reported_requests, reported_at, written) "
        "VALUES ('s1', now(), 8, now(), 10, now(), 9)"
    )
    connection.execute(sql.SQL("SET ROLE keygauge_grafana"))
    connection.execute("SET search_path = grafana")


def _queries():
    for page in pages(Thresholds()):
        for view in page.views():
            for target in view.targets:
                if isinstance(target, Sql):
                    yield pytest.param(target.query, target.over_time, id=f"{page.uid}: {view.title}")
        for annotation in page.annotations:
            if "rawSql" in annotation["target"]:
                name = f"{page.uid}: annotation {annotation['name']}"
                yield pytest.param(annotation["target"]["rawSql"], True, id=name)


@pytest.mark.parametrize("variables", [EVERY, ONE], ids=["all", "one"])
@pytest.mark.parametrize(("query", "over_time"), list(_queries()))
def test_query_returns_rows(grafana, query, over_time, variables):
    rows = grafana.execute(_fill(query, variables)).fetchall()
    assert rows
    assert any(value for row in rows for value in row.values())
    if over_time:
        assert all(row["time"] for row in rows)


@pytest.mark.parametrize("query", [parameter.values[0] for parameter in _queries()])
def test_query_works_without_keys(grafana, query):
    grafana.execute(_fill(query, NONE))


@pytest.mark.parametrize("query", [parameter.values[0] for parameter in _queries()])
def test_query_has_a_name_and_only_reads_views(query):
    assert re.match(r"/\* [a-z]+\.[a-z_0-9]+ \*/\n", query)
    tables = re.findall(r"(?<!epoch )\b(?:FROM|JOIN)\s+(?!\(|LATERAL)([\w.]+)", query)
    assert tables
    named_here = set(re.findall(r"(?:\bWITH |\), )(\w+) AS \(", query))
    assert all(table.startswith("grafana.") or table in named_here for table in tables)


_DISTRIBUTED = {"event", "rollup", "usage_aggregate", "usage_kind"}  # views of tables that Citus distributes


def _parts(query):
    """Yield each SELECT of a query: its own text, without those inside it, and that of the one around it."""
    inner = re.compile(r"\((?=\s*SELECT\b)")
    depths, around = [], [""]
    for place, letter in enumerate(query):
        if letter == "(":
            depths.append(bool(inner.match(query, place)))
            if depths[-1]:
                around.append("")
                continue
        if letter == ")" and depths.pop():
            yield around.pop(), around[-1]
            continue
        around[-1] += letter
    yield around[0], ""


def _tables(part):
    return re.findall(r"\b(?:FROM|JOIN)\s+grafana\.(\w+)(?:\s+AS (\w+))?", part)


def test_the_parts_of_a_query_are_found():
    assert list(_parts("SELECT (1), (SELECT 2 FROM b WHERE x = a.x) FROM a")) == [
        ("SELECT 2 FROM b WHERE x = a.x", "SELECT (1), "),
        ("SELECT (1),  FROM a", ""),
    ]


@pytest.mark.parametrize("query", [parameter.values[0] for parameter in _queries()])
def test_no_part_of_a_query_joins_row_by_row_what_citus_distributes_with_what_it_does_not(query):
    parts = [part for part, _ in _parts(query)]
    outer = {alias or name for part in parts for name, alias in _tables(part) if name in _DISTRIBUTED}
    for part in parts:
        if any(name not in _DISTRIBUTED for name, _ in _tables(part)):
            own = {alias or name for name, alias in _tables(part)}
            assert not {name for name in outer - own if re.search(rf"\b{name}\.", part)}, part


def _view(uid, title):
    (page,) = (page for page in pages(Thresholds()) if page.uid == uid)
    (view,) = (view for view in page.views() if view.title == title)
    return view


def _fill(query, variables):
    return as_sent(query, variables)


def _stored_variables():
    found = {(item["name"], str(item["query"])): item for page in pages(Thresholds()) for item in page.variables}
    return [
        item for item in found.values() if item.get("datasource", {}).get("type", "").endswith("postgresql-datasource")
    ]


def _variables():
    return [item for item in _stored_variables() if "regex" in item]


def test_the_inventory_has_all_keys_and_their_owners_even_without_metrics(grafana):
    """The metrics describe at most 800 keys."""
    page = next(page for page in pages(Thresholds()) if page.uid == KEYS_PAGE)
    every = EVERY | dict.fromkeys(("account", "key"), All(custom="''"))
    for chosen, keys in (
        (every, {"k1", "k2"}),
        (every | {"key": ["k2"]}, {"k2"}),
        (every | {"account": ["a9"]}, set()),
    ):
        (view,) = (view for view in page.views() if view.title == "Keys")
        rows = grafana.execute(_fill(view.targets[0].query, chosen)).fetchall()
        assert {row["id"] for row in rows} == keys
        offered = {
            item["name"]: grafana.execute(_fill(item["query"], chosen)).fetchall() for item in page.variables[:2]
        }
        assert [row["__value"] for row in offered["account"]] == ["a1"]
        assert {row["__value"] for row in offered["key"]} == ({"k1", "k2"} if chosen["account"] != ["a9"] else set())
    (owner,) = (item for item in _stored_variables() if item["name"] == "owner")
    assert grafana.execute(_fill(owner["query"], EVERY | {"key": "k2"})).fetchall() == [{"owner": "a1"}]


def test_the_request_log_has_calls_of_all_keys_even_without_metrics(grafana):
    page = next(page for page in pages(Thresholds()) if page.uid == LOG_PAGE)
    (view,) = (view for view in page.views() if view.title == "Calls")
    every = EVERY | {item["name"]: All(custom=item["allValue"]) for item in page.variables[:2]}
    for chosen, count in (
        (every, 2),
        (every | {"account": ["a1"]}, 2),
        (every | {"key": ["k1"]}, 2),
        (every | {"key": ["k2"]}, 0),
        (every | {"account": ["a9"]}, 0),
    ):
        assert len(grafana.execute(_fill(view.targets[0].query, chosen)).fetchall()) == count


def test_the_request_log_of_all_accounts_reads_only_its_time_range(grafana):
    page = next(page for page in pages(Thresholds()) if page.uid == LOG_PAGE)
    every = EVERY | {item["name"]: All(custom=item["allValue"]) for item in page.variables[:2]}
    grafana.execute("SET enable_seqscan = off")  # the table is tiny
    plan = grafana.execute(f"EXPLAIN {_fill(_view(LOG_PAGE, 'Calls').targets[0].query, every)}").fetchall()
    conditions = [line for row in plan for line in row.values() if "Index Cond:" in line and "event" not in line]
    assert any("account_id = ANY" in line and '"time" >=' in line for line in conditions), plan


@pytest.mark.parametrize("uid", [LOG_PAGE, KEYS_PAGE])
def test_all_on_pages_without_metrics_includes_every_row(grafana, uid):
    (page,) = (page for page in pages(Thresholds()) if page.uid == uid)
    every = EVERY | {item["name"]: All(custom=item["allValue"]) for item in page.variables[:2]}
    queries = [target.query for view in page.views() for target in view.targets if isinstance(target, Sql)]
    queries += [one["target"]["rawSql"] for one in page.annotations if "rawSql" in one["target"]]
    for query in queries:
        assert grafana.execute(_fill(query, every)).fetchall(), query


def test_all_keys_include_those_that_share_a_series(grafana):
    view = next(view for view in pages(Thresholds())[0].views() if view.title == "Totals of the time range")
    for keys, counted in ((("k7", "other"), True), (("k7", "k8"), False), (("other",), False)):
        (row,) = grafana.execute(_fill(view.targets[0].query, EVERY | {"key": All(keys)})).fetchall()
        assert bool(row["Requests"]) == counted


@pytest.mark.parametrize("variable", _variables(), ids=lambda variable: variable["name"])
def test_hidden_variable_has_the_selected_names_of_the_ledger(grafana, variable):
    names = [name for row in grafana.execute(_fill(variable["query"], EVERY)).fetchall() for name in row.values()]
    assert options(names, variable["regex"], EVERY) == tuple(names) != ()
    assert options(names, variable["regex"], ONE) == (ONE[variable["name"]][0],)
    assert options(names, variable["regex"], {**ONE, "endpoint": ["x"], "model": ["x"]}) == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_can_be_selected(connection, name):
    """Such names could end the string or the query early, or be treated as a pattern."""
    selected = ONE | {"trace": "", "address": "", "endpoint": [name], "model": [name]}
    _plant(connection, {"route": name, "model": name})
    for variable in _variables():
        rows = connection.execute(_fill(variable["query"], selected)).fetchall()
        selected[variable["name"]] = options([row["name"] for row in rows], variable["regex"], selected)
        assert selected[variable["name"]] == (name,)
    for parameter in _queries():
        rows = connection.execute(_fill(parameter.values[0], selected)).fetchall()
        if "grafana.variable_value" in parameter.values[0] and "status:" not in parameter.values[0]:
            assert any(value for row in rows for value in row.values()), parameter.id
    for parameter in _queries():
        connection.execute(_fill(parameter.values[0], dict.fromkeys(selected, name) | {"before": "0"}))


def test_processes_that_start_together_are_one_annotation(connection):
    """A deploy that keeps KeyGauge's version is seen too, while the old processes are still known."""
    connection.execute(
        "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
        "SELECT service || ago, service, 'h', '1.0', 'enforce', now() - ago * interval '1 minute', now() "
        "FROM (VALUES ('api', 5), ('api', 8), ('api', 14), ('api', 120), ('shop', 6)) AS start(service, ago)"
    )
    query = next(
        one["target"]["rawSql"] for one in pages(Thresholds())[0].annotations if "start" in one["target"]["rawSql"]
    )
    rows = connection.execute(_fill(query, EVERY)).fetchall()
    texts = [row["text"] for row in sorted(rows, key=lambda row: row["time"])]
    assert texts == [
        "start of api, processes: 1",
        "start of api, processes: 3",
        "start of shop, processes: 1",
    ]


def test_processes_that_went_silent_within_the_hour_are_first(connection):
    connection.execute(
        "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
        "SELECT host, 'api', host, '1.0', 'enforce', now() - interval '1 day', now() - silent_s * interval '1 second' "
        "FROM (VALUES ('live', 1), ('dead', 60), ('ended', 2400), ('old', 7200)) AS replica(host, silent_s)"
    )
    rows = connection.execute(_fill(_view(HEALTH_PAGE, "Processes").targets[0].query, EVERY)).fetchall()
    assert [row["host"] for row in rows] == ["dead", "ended", "live", "old"]


def test_times_fit_their_columns(grafana):
    """Grafana adds milliseconds to times within a minute, unless the column has a unit."""
    for view in (view for page in pages(Thresholds()) for view in page.views() if view.kind == "table"):
        given = {}
        for override in view.overrides:
            properties = {one["id"]: one["value"] for one in override["properties"]}
            given.setdefault(override["matcher"]["options"], {}).update(properties)
        for target in (target for target in view.targets if isinstance(target, Sql)):
            for column in grafana.execute(_fill(target.query, EVERY)).description:
                if column.type_display == "timestamptz":
                    properties = given.get(column.name, {})
                    is_short = properties.get("unit") in {"dateTimeAsIso", "dateTimeFromNow"}
                    assert is_short or properties.get("custom.width", 0) >= 195, (view.title, column.name)


def test_differences_of_the_last_day_are_listed_in_a_shorter_range(connection):
    """The alert about them covers a day, and links to six hours."""
    _plant(connection, {})
    connection.execute("RESET ROLE")
    connection.execute("UPDATE public.spool_hour SET hour = date_trunc('hour', now() - interval '20 hours')")
    query = _view(HEALTH_PAGE, "Differences by process").targets[0].query
    (row,) = connection.execute(_fill(query, EVERY)).fetchall()
    assert row["missing"] + row["waiting"] > 0


def test_averages_begin_with_the_first_call(connection):
    """A service that is used for three days would seem to have had thirty times fewer requests per day."""
    _plant(connection, {})
    view = next(view for view in pages(Thresholds())[0].views() if view.title == "Last 90 days")
    until = datetime.now(UTC)
    query = as_sent(view.targets[0].query, EVERY, since=until - timedelta(days=90), until=until)
    (row,) = connection.execute(query).fetchall()
    total = connection.execute("SELECT sum(requests) AS requests FROM grafana.rollup").fetchone()["requests"]
    assert float(total) / 4 <= row["Requests/day"] <= float(total) / 2


def test_range_includes_the_whole_first_quarter_hour(connection):
    _plant(connection, {})
    begin = datetime(2026, 11, 3, 10, 15, tzinfo=UTC)
    connection.execute("RESET ROLE")
    connection.execute(
        "INSERT INTO public.rollup_recent SELECT %s + n * interval '15 minutes', 'a1', 'k2', '/v1', 'gpt', 2, "
        "30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1e12 FROM generate_series(-1, 2) AS n",
        (begin,),
    )
    view = next(view for view in pages(Thresholds())[0].views() if view.title == "Totals of the time range")
    span = {"since": begin + timedelta(minutes=10), "until": begin + timedelta(minutes=40)}
    (row,) = connection.execute(as_sent(view.targets[0].query, EVERY, **span)).fetchall()
    assert (row["Requests"], row["Requests/min"]) == (90, 90 / 40)


@pytest.mark.parametrize("name", ["/v1", "/v1/a&b=c#d+e %41", "o'brien-7b"])
def test_links_select_the_clicked_item(connection, name):
    _plant(connection, {"route": name, "model": name})
    selected = EVERY | {"ledger_endpoint": All((name,)), "ledger_model": All((name,))}
    followed = {}
    for page in pages(Thresholds()):
        for view in page.views():
            for target in view.targets:
                if isinstance(target, Sql):
                    rows = connection.execute(_fill(target.query, selected)).fetchall()
                    for url, click in _clicks(view, rows):
                        uid, given = follow(
                            url, click, selected | dict.fromkeys(("datasource", "postgresql", "job", "env"), "x")
                        )
                        _require_calls(connection, uid, given, name)
                        followed.setdefault((page.uid, view.title), []).append(uid)
    assert len(followed) > 20
    assert {uid for uids in followed.values() for uid in uids} >= {KEY_PAGE, LOG_PAGE}


def _clicks(view, rows):
    """Yield each link with its clickable items: every nonzero line, and each cell of its column."""
    lines = [
        (row.get("metric", name), row, value)
        for row in rows
        for name, value in row.items()
        if name not in {"time", "metric"} and value
    ]
    for link in view.defaults.get("links", ()):
        yield from ((link["url"], Click(name, value, row=row)) for name, row, value in lines)
    for override in view.overrides:
        column = override["matcher"]["options"]
        links = [link for one in override["properties"] if one["id"] == "links" for link in one["value"]]
        for link in links:
            # An empty trace links to all calls.
            yield from ((link["url"], Click(column, _raw(row[column]), row=row)) for row in rows if row.get(column))


def _raw(value):
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


def _require_calls(connection, uid, given, name):
    """Check that the calls, or the key, selected by a page's URL exist."""
    page = next(page for page in pages(Thresholds()) if page.uid == uid)
    kinds = {item["name"]: item for item in page.variables}
    assert set(given) <= set(kinds)
    selected = dict(EVERY)
    for variable, values in given.items():
        if values != ["$__all"] and variable in selected:
            selected[variable] = values if kinds[variable]["type"] != "textbox" else values[0]
    for variable in ("ledger_endpoint", "ledger_model"):
        selected[variable] = (
            options([name, "no model"], kinds[variable]["regex"], selected) if variable in kinds else ()
        )
    asked = {LOG_PAGE: "Calls", KEY_PAGE: "Key"}.get(uid)
    for view in page.views():
        if view.title == asked:
            assert connection.execute(_fill(view.targets[0].query, selected)).fetchall(), given


def test_runbook_queries_run(grafana, root):
    queries = re.findall(
        r'^\$ psql "\$KEYGAUGE_DATABASE_URL" -c "(.+)"$', (root / "docs/operate/runbook.md").read_text(), re.MULTILINE
    )
    assert len(queries) > 20
    for query in queries:
        grafana.execute(query)
