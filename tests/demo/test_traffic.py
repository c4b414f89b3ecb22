"""Live traffic to the API without metering: every call is answered and counted."""

import asyncio

import pytest
from ports import free_port

from keygauge_demo.customers.profiles import Key
from keygauge_demo.stack.process import Process
from keygauge_demo.traffic import Driver, Traffic, choose_drivers
from keygauge_demo.traffic_counts import TrafficCounts

OPENAI = Key("a", {"gpt-4o-mini": 1}, live_per_minute=600)
ANTHROPIC = Key("b", {"claude-haiku-4-5": 1}, live_per_minute=600)
SPOILT = Key("c", {"gpt-4o-mini": 1, "claude-haiku-4-5": 1}, live_per_minute=600, refused=1.0)


@pytest.fixture(scope="module")
def api_url(tmp_path_factory):
    port = free_port()
    command = ("-m", "uvicorn", "--factory", "keygauge_demo.api.app:create_app", "--port", str(port))
    api = Process("API", command, log=tmp_path_factory.mktemp("log") / "api.log", environ={})
    try:
        api.wait_until_ready(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"
    finally:
        api.stop()


async def drive(api_url, key, is_enough):
    counts, stop = TrafficCounts(), asyncio.Event()
    traffic = Traffic([Driver(key, "token")], api_url=api_url, counts=counts)
    running = asyncio.create_task(traffic.run(stop))
    async with asyncio.timeout(100):
        while not is_enough(counts):
            await asyncio.sleep(0.01)
    stop.set()
    await running
    return counts


@pytest.mark.parametrize("key", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
async def test_calls_are_answered_and_their_tokens_counted(api_url, key):
    counts = await drive(api_url, key, lambda counts: counts.statuses[200] >= 2)
    assert counts.sent == counts.answered
    assert counts.input_tokens > counts.output_tokens > 0


async def test_malformed_calls_are_answered_with_400(api_url):
    counts = await drive(api_url, SPOILT, lambda counts: counts.answered >= 2)
    assert set(counts.statuses) == {400}
    assert counts.failed == counts.admitted == counts.sent


async def test_unanswered_calls_are_only_counted_as_sent():
    counts = await drive(f"http://127.0.0.1:{free_port()}", OPENAI, lambda counts: counts.sent)
    assert counts.answered == 0


def test_keys_without_live_traffic_make_no_calls():
    assert choose_drivers([Key("quiet"), OPENAI], {"quiet": "x", "a": "y"}) == [Driver(OPENAI, "y")]
