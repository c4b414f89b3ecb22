"""Pages of an account with more keys and groups than a page shows stay small and omit nothing silently."""

import re
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql

from keygauge_keyservice.keys import keys
from keygauge_keyservice.ledger import partition
from keygauge_keyservice.portal import own_keys
from keygauge_keyservice.portal.tables import usage_table
from keygauge_keyservice.usage import usage

MANY, SOME = 2_000, 25
ROWS_MAX = 600  # returned by one statement for a page
BYTES_MAX = 100_000
FILL = """
INSERT INTO plan_limit (plan_id, name, subject, unit, amount, period)
    VALUES ('pro', 'each', 'key', 'request', 100, 'month'), ('pro', 'each_day', 'key', 'token', 100, 'day');
INSERT INTO key (id, account_id, name, created_at, last_used_at, expires_at, rotate_every_days)
    SELECT 'many' || n, %(account)s, 'key ' || n, now() - interval '90 days', now(), now() + interval '1 day', 1
    FROM generate_series(1, %(many)s) AS n;
INSERT INTO rollup_recent SELECT date_bin('15 minutes', now() - n %% 20 * interval '1 day', 'epoch'), %(account)s,
    'many' || n, '/v1/chat', 'm' || n %% 3, 4, 50, 0, 500, 200, 0, 0, 0, 900, 9000, 1000000, 5000000,
    50e228 FROM generate_series(1, %(many)s) AS n;
INSERT INTO usage_aggregate
    SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}');
INSERT INTO usage_kind
    SELECT account_id, 86400, date_bin('1 day', bucket, 'epoch'), key_id, route, model, status_class, 'images', 1
    FROM rollup;
INSERT INTO limit_state (id, account_id, head, cells, ends)
    SELECT plan_limit.id || ':many' || n, %(account)s, extract(epoch FROM date_trunc(period, now())), '{90}',
        ARRAY[extract(epoch FROM now() + interval '1 hour')::bigint * 1000000]
    FROM plan_limit, generate_series(1, %(many)s) AS n WHERE plan_limit.name LIKE 'each%%';
INSERT INTO key_address (key_id, ip, account_id, first_at, last_at)
    SELECT 'many' || n, '192.0.2.' || day, %(account)s, now() - (30 - 30 * day) * interval '1 day', now()
    FROM generate_series(1, %(many)s) AS n, generate_series(0, 1) AS day;
INSERT INTO event (id, time, account_id, key_id, route, method, status, duration_us, request_bytes, response_bytes,
        usage_status, outcome)
    SELECT gen_random_uuid(), now() - n * interval '1 second', %(account)s, 'many' || n, '/v1/chat', 'POST', 400,
        9, 9, 9, 'none', 'admitted' FROM generate_series(1, %(many)s) AS n;
ANALYZE"""
NO_PAGES = ("/assets", "/sign-in", "/operator", "/invitation", "/live")

RANGE = "from=2026-05-19&to=2026-05-21"


@pytest.fixture
def second(connection, settings, customer):
    """A second, newer key of the customer's account."""
    return keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="second", actor="test"
    )[0]


def test_page_suggests_some_keys_and_finds_all_by_name_or_id(signed_in, customer, second, record, monkeypatch):
    monkeypatch.setattr(own_keys, "OFFERED_MAX", 1)
    record(customer, {}, {})
    for page in ("usage", "calls"):
        offered = signed_in.get(f"/{page}?{RANGE}").text
        assert f'<option value="{customer.key.name}">' in offered
        assert '<option value="second">' not in offered
        for given in (second.id, "second"):
            assert 'value="second" maxlength' in signed_in.get(f"/{page}?{RANGE}&key={given}").text


def test_breakdown_shows_the_busiest_groups_and_counts_the_rest(signed_in, customer, record, monkeypatch):
    monkeypatch.setattr("keygauge_keyservice.portal.usage_figures._ROWS_MAX", 1)
    record(customer, {"model": "m1"}, {"model": "m2"}, {"model": "m2"})
    page = signed_in.get(f"/usage?{RANGE}&group=model&chart=table").text
    assert "1 more row." in page
    assert "m2" in page


def test_error_for_too_many_points_suggests_a_shorter_range(signed_in, customer, record, monkeypatch):
    record(customer, {})
    monkeypatch.setattr(usage, "POINTS_MAX", 1)
    answer = signed_in.get(f"/usage?{RANGE}")
    assert answer.status_code == 422
    assert "use a shorter range or longer buckets." in answer.text


def crowd(connection, customer, many):
    """Give the customer many keys, all used, about to expire, near their quotas and with errors."""
    partition.ensure(connection, {partition.month_of(datetime.now(UTC))})
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(FILL, {"account": customer.account.id, "many": many})


@pytest.fixture
def handed_over(monkeypatch):
    """A list of (beginning of the statement, number of rows returned) of all statements."""
    counts, execute = [], psycopg.Cursor.execute

    def counted(cursor, statement, *given, **options):
        done = execute(cursor, statement, *given, **options)
        text = statement.as_string(cursor) if isinstance(statement, sql.Composable) else str(statement)
        counts.append((text[:60], cursor.rowcount))
        return done

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    return counts


def test_no_page_reads_all_keys_of_an_account(app, connection, customer, signed_in, handed_over):
    crowd(connection, customer, MANY)
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in rule.methods and rule.endpoint.startswith("portal.")]
    plain = [rule.rule for rule in rules if not rule.arguments and not rule.rule.endswith((".csv", ".json"))]
    pages = [path for path in plain if not path.startswith(NO_PAGES)]
    assert len(pages) >= 10
    grouped = [f"/usage?group={group}&metric={metric}" for group in ("key", "model") for metric in ("tokens", "cost")]
    within = ["/usage?group=key&model=m1", "/usage?group=key&model=m1&route=/v1/chat", "/keys?q=key+77&sort=name"]
    for path in (
        *pages,
        *grouped,
        *within,
        "/usage?range=90d",
        "/usage?range=7d&bucket=hour&group=key",
        "/keys/many1",
        "/audit?subject=many1",
        "/keys?page=9",
    ):
        handed_over.clear()
        answer = signed_in.get(path)
        assert answer.status_code == 200, path
        assert len(answer.data) <= BYTES_MAX, path
        assert [found for found in handed_over if found[1] > ROWS_MAX] == [], path


def test_files_have_all_keys(connection, customer, signed_in, monkeypatch):
    monkeypatch.setattr(usage_table, "_TOGETHER", 10)
    crowd(connection, customer, SOME)
    lines = signed_in.get("/usage.csv?table=key").text.splitlines()
    assert len(lines) == SOME + 1
    assert lines[0].startswith("key_id,key,requests")
    assert re.fullmatch(r"many\d+,key \d+,50,0,50,0,500,200,0,0,0,0.1,1,0.001000000,0.001000000", lines[1])
