"""Plan changes while a process answers calls: a plan with 100,000 keys, and an account that changes its plan."""

import time
from collections import Counter

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.sync import service_keys

MANY = 100_000 - 3  # with the three that the test creates, as many as an account can have
HIGH = plans.Limit(name="daily", unit="request", amount=100_000, period="day", subject="key")
RPM = {"name": "rpm", "unit": "request", "amount": 100_000, "window_s": 60}
LOW = plans.Limit(name="daily", unit="request", amount=40, period="day", subject="key")


@pytest.fixture
def crowd(service):
    """Return an account with very many keys, all of which the process's service has looked up."""
    plans.create(service.connection, plan_id="pro", name="Pro", limits=[HIGH], actor="test")
    account = service.account()
    service.connection.execute("UPDATE account SET plan_id = 'pro' WHERE id = %s", (account,))
    service.connection.execute(
        "INSERT INTO key (id, account_id, name) SELECT 'k' || lpad(n::text, 11, '0'), %s, 'key' "
        "FROM generate_series(1, %s) AS n",
        (account, MANY),
    )
    service_keys.add(service.connection, "", [row["id"] for row in service.connection.execute("SELECT id FROM key")])
    service.connection.execute("ANALYZE key, service_key, service_account, account")
    return account


def host():
    async def hello(request):
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/hello", hello)])


async def test_plan_with_very_many_keys_is_edited_under_traffic(service, guard, visit, crowd):
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


@pytest.mark.parametrize("amount", [40, 1_000])
async def test_account_that_changes_plans_repeatedly_gets_its_limit_once(service, guard, visit, tmp_path, amount):
    daily = {"name": "daily", "unit": "request", "amount": amount, "period": "day"}
    account = service.account(daily)
    first = accounts.require(service.connection, account).plan_id
    larger, other = service.plan(daily | {"amount": 2 * amount}), service.plan(RPM)
    _, token = service.key(account=account)
    apps = [guard(host(), spool_dir=tmp_path / name) for name in ("spool", "another")]
    admitted = Counter()

    async def call(app):
        answer = await visit(app, token)
        policy = answer.headers["ratelimit-policy"]
        admitted['"daily"' in policy] += answer.status_code == 200
        return answer, policy

    async def call_until(app, is_there):
        while is_there not in (await call(app))[1]:
            pass
        for _ in range(3):
            await call(app)

    for plan_id, is_there, used in (
        (first, f"q={amount};", apps),
        (larger, f"q={2 * amount};", apps[:1]),
        (other, '"rpm"', apps[:1]),
        (first, f"q={amount};", apps),
    ):
        if accounts.require(service.connection, account).plan_id != plan_id:
            accounts.change_plan(service.connection, account, plan_id, actor="test")
        for app in used:
            await call_until(app, is_there)
    deadline = time.monotonic() + 100
    waiting = list(apps)
    while waiting:
        app = waiting[0]
        answer, _ = await call(app)
        if answer.status_code == 429 and int(answer.headers["retry-after"]) > 5:
            waiting.remove(app)
        assert time.monotonic() < deadline
    # Calls without the limit count towards it on the return to it, as far as they are in the ledger by then.
    assert amount - admitted[False] <= admitted[True] <= amount
