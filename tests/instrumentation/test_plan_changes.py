"""A plan of 100,000 keys is edited while a process answers their calls."""

import time

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge_keyservice.accounts import plans
from keygauge_keyservice.keys import keys

MANY = 100_000
HIGH = plans.Limit(name="daily", unit="request", amount=100_000, period="day", subject="key")
LOW = plans.Limit(name="daily", unit="request", amount=40, period="day", subject="key")


@pytest.fixture
def crowd(service):
    """The account of very many keys, all of them known to the process's service."""
    plans.create(service.connection, plan_id="pro", name="Pro", limits=[HIGH], actor="test")
    account = service.account()
    service.connection.execute("UPDATE account SET plan_id = 'pro' WHERE id = %s", (account,))
    service.connection.execute(
        "INSERT INTO key (id, account_id, name) SELECT 'k' || lpad(n::text, 11, '0'), %s, 'key' "
        "FROM generate_series(1, %s) AS n",
        (account, MANY),
    )
    service.connection.execute("INSERT INTO told_key (service, key_id) SELECT '', id FROM key")
    service.connection.execute("ANALYZE key, told_key, account")
    return account


def host():
    async def hello(request):
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/hello", hello)])


async def test_a_plan_of_very_many_keys_is_edited_under_traffic(service, guard, visit, crowd):
    app = guard(host())
    tokens = {key.id: token for key, token in (service.key(account=crowd) for _ in range(3))}
    revoked = next(iter(tokens))
    for token in tokens.values():
        for _ in range(30):
            assert (await visit(app, token)).status_code == 200
    feed = "SELECT coalesce(max(number), 0) AS newest FROM key_change"
    before = service.connection.execute(feed).fetchone()["newest"]
    began = time.monotonic()
    plans.replace_limits(service.connection, "pro", [LOW], actor="test")
    edited_s = time.monotonic() - began
    assert service.connection.execute(feed).fetchone()["newest"] == before + 1
    keys.set_status(service.connection, revoked, "disabled", actor="test")
    ends = {token: 401 if key == revoked else 429 for key, token in tokens.items()}
    seen, last = set(), {}
    deadline = time.monotonic() + 60
    while last != ends and time.monotonic() < deadline:
        last = {token: (await visit(app, token)).status_code for token in ends}
        seen |= {*last.values()}
    print(f"edited in {edited_s:.2f} s, in force after {time.monotonic() - began:.2f} s")
    assert last == ends
    assert seen == {200, 401, 429}
