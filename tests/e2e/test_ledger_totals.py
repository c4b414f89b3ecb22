"""The API's totals of real traffic, compared with the clients' own totals and with the processes' reports."""

import csv
import io
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from keygauge.settings.settings import Settings
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool
from keygauge_keyservice import database
from keygauge_keyservice.accounts.plans import Limit
from keygauge_keyservice.ledger.replicas import replica_check
from keygauge_keyservice.sync import service_keys

CALLS = 48
LIMIT = 40  # calls per minute
OWN = {"input": 1_500_000_001, "output": 7_000_000_003, "cache_read": 300_000_007, "request": 999_999_000_000}
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def cost_nanousd(usage):
    """Price one call independently: exact, then rounded half up."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    plain = usage["prompt_tokens"] - cached
    total = plain * OWN["input"] + cached * OWN["cache_read"] + usage["completion_tokens"] * OWN["output"]
    return (total + OWN["request"] + 500_000) // 1_000_000


def call(client, number):
    """Make a call and return the model, status and usage seen by the client."""
    model = ("gpt-4o-mini", "gpt-4o", "no-such-model")[number % 3]
    body = {"model": model, "messages": [{"role": "user", "content": "word " * (number * 7 % 90 + 1)}]}
    if number % 2:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    answer = client.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        return None, answer.status_code, None
    if number % 2 == 0:
        return answer.json()["model"], 200, answer.json()["usage"]
    chunks = [
        httpx.Response(200, text=line[6:]).json() for line in answer.text.splitlines() if line.startswith("data: {")
    ]
    return chunks[-1]["model"], 200, chunks[-1]["usage"]


@pytest.fixture
def traffic(stack, eventually):
    """Real traffic: the account and each call as seen by its client, once all of them are in the ledger."""
    key, token = stack.create_key(Limit(name="rpm", unit="request", amount=LIMIT, window_s=60))
    operator = {"Authorization": f"Bearer {stack.admin_token}"}
    with httpx.Client(base_url=stack.service_url, headers=operator, timeout=150) as service:
        for model in ("gpt-4o-mini", "gpt-4o"):
            price = {"model": model, "tiers": [OWN], "valid_from": "2020-01-01T00:00:00Z"}
            assert service.post("/v1/prices", json=price).status_code in {200, 201}
        with httpx.Client(base_url=stack.api_url, headers={"X-API-Key": token}, timeout=150) as client:
            seen = [call(client, number) for number in range(CALLS)]
        eventually(lambda: len(stack.ledger(key.id)), CALLS)
        yield service, key, seen


def totals(seen, name):
    """Sum the calls by one dimension, in the API's format."""
    sums = defaultdict(Counter)
    for model, status, usage in seen:
        group = {"model": model or "", "status": f"{status // 100}xx", "route": "/v1/chat/completions"}[name]
        sums[group]["requests"] += 1
        sums[group]["limited"] += status == 429
        if usage:
            sums[group]["input_tokens"] += usage["prompt_tokens"]
            sums[group]["output_tokens"] += usage["completion_tokens"]
            sums[group]["cost_nanousd"] += cost_nanousd(usage)
    return {group: dict(+counts) for group, counts in sums.items()}


def told(groups):
    names = ("requests", "limited", "input_tokens", "output_tokens", "cost_nanousd")
    return {group["group"]: {name: group[name] for name in names if group[name]} for group in groups}


def answered(groups):
    """Leave out refused calls, which have the requested model only if their body arrived in time to be read."""
    sums = {name: dict(counts) for name, counts in groups.items()}
    for counts in sums.values():
        counts["requests"] -= counts.pop("limited", 0)
    return {name: counts for name, counts in sums.items() if counts["requests"]}


def test_api_totals_equal_the_clients_totals_to_the_token_and_nano_dollar(traffic, stack, eventually):
    service, key, seen = traffic
    whole = Counter()
    for counts in totals(seen, "status").values():
        whole.update(counts)
    assert whole["limited"] > 0
    for zone in ZONES:
        for bucket in ("hour", "day", "week", "month"):
            asked = {"account": key.account_id, "zone": zone, "bucket": bucket}
            answer = service.get("/v1/usage", params=asked).json()
            assert {name: answer["totals"][name] for name in whole} == whole
            assert {name: sum(point[name] for point in answer["points"]) for name in whole} == whole
            rows = list(csv.DictReader(io.StringIO(service.get("/v1/usage", params={**asked, "format": "csv"}).text)))
            assert sum(int(row["input_tokens"]) for row in rows) == whole["input_tokens"]
    for name in ("status", "route"):
        groups = service.get("/v1/usage", params={"account": key.account_id, "group_by": name}).json()["groups"]
        assert told(groups) == totals(seen, name)
    groups = service.get("/v1/usage", params={"account": key.account_id, "group_by": "model"}).json()["groups"]
    assert answered(told(groups)) == answered(totals(seen, "model"))
    assert sum(group["limited"] for group in groups) == whole["limited"]
    for name, group in (("key", key.id), ("account", key.account_id)):
        groups = service.get("/v1/usage", params={"account": key.account_id, "group_by": name}).json()["groups"]
        assert told(groups) == {group: dict(whole)}
    logged = service.get("/v1/calls", params={"account": key.account_id, "limit": 500}).json()["calls"]
    found = Counter((one["model"], one["status"], one["cost_nanousd"]) for one in logged if one["status"] != 429)
    assert found == Counter(
        (model, status, usage and cost_nanousd(usage)) for model, status, usage in seen if status != 429
    )
    answer = service.get("/v1/usage", params={"account": key.account_id}).json()
    assert answer["pace"]["rates"][0]["used"] <= LIMIT
    assert (
        service.get("/v1/billing", params={"account": key.account_id}).json()["current"]["usage_nanousd"]
        == (whole["cost_nanousd"])
    )
    stack.api.stop()  # it sends its report when it stops
    assert_agrees(stack, eventually, whole)


def assert_agrees(stack, eventually, whole):
    def reported():
        with database.connect(stack.database_url) as connection:
            row = connection.execute(
                "SELECT sum(reported_requests)::int AS requests, sum(reported_input_tokens)::int AS input, "
                "sum(reported_output_tokens)::int AS output, "
                "sum(missing_requests + missing_tokens + surplus_requests + surplus_tokens)::int AS drift "
                "FROM replica_check"
            ).fetchone()
            return tuple(row.values())

    eventually(reported, (CALLS, whole["input_tokens"], whole["output_tokens"], 0))


def test_a_killed_api_leaves_no_drift(traffic, stack, eventually):
    stack.api.kill()
    stack.start_api()  # it adopts the spool of the killed one
    eventually(lambda: len(list(Path(stack.directory, "spool").glob("*.lock"))), 1, timeout_s=150)
    with database.connect(stack.database_url) as connection:
        assert replica_check.find_differences(connection, LONG_AGO, grace=timedelta(0)) == []
        assert connection.execute("SELECT count(*) AS n FROM event").fetchone() == {"n": CALLS}


def test_events_dropped_by_a_full_spool_are_drift(cold_stack, tmp_path):
    cold_stack.start_service()
    key, _ = cold_stack.create_key()
    with database.connect(cold_stack.database_url) as connection:
        service_keys.add(connection, "", [key.id])
    settings = Settings(
        service_url=cold_stack.service_url, service_token=cold_stack.service_token, spool_dir=tmp_path / "full"
    )
    dropped, totals = Counter(), HourlyCounts()
    spool = Spool(
        settings.spool_dir,
        settings.service_address,
        most_bytes=20_000,
        on_drop=lambda reason: dropped.update([reason]),
    )
    reporter = Reporter(settings, spool, totals, replica="f0")
    shipper = Shipper(settings, spool, reporter, on_drop=print, on_fault=print)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    line = (
        f'[{now_us},"{key.account_id}","{key.id}","/a","GET",200,null,null,5,null,0,0,null,0,null,null,10,1,null,null,'
    )
    line += 'null,"reported","admitted",null,null,null]\n'
    for _ in range(300):
        spool.append(line.encode())
        totals.count(now_us * 1_000, 10, 1)
    assert dropped["spool_full"] > 0
    shipper.start()
    assert shipper.stop(20)
    spool.close(empty=True)
    with database.connect(cold_stack.database_url) as connection:
        [found] = replica_check.find_differences(connection, LONG_AGO, grace=timedelta(0))
        check = replica_check.check(connection, LONG_AGO, grace=timedelta(0))
    lost = dropped["spool_full"]
    assert (found.spool, found.reported, found.taken[0]) == (spool.id, (300, 3_000, 300), 300 - lost)
    assert (check.missing_requests, check.missing_tokens, check.surplus_requests) == (lost, 11 * lost, 0)
