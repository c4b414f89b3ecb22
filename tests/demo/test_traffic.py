"""Live traffic against the API without its meter: every call is answered and counted."""

import asyncio

import pytest
from ports import free_port

from keygauge_demo.cast import Key
from keygauge_demo.process import Process
from keygauge_demo.tally import Tally
from keygauge_demo.traffic import Driver, Traffic, choose_drivers

OPENAI = Key("a", {"gpt-4o-mini": 1}, live_per_minute=600)
ANTHROPIC = Key("b", {"claude-haiku-4-5": 1}, live_per_minute=600)
SPOILT = Key("c", {"gpt-4o-mini": 1, "claude-haiku-4-5": 1}, live_per_minute=600, refused=1.0)


@pytest.fixture(scope="module")
def api_url(tmp_path_factory):
    port = free_port()
    command = ("-m", "uvicorn", "--factory", "keygauge_demo.api:create_app", "--port", str(port))
    api = Process("API", command, log=tmp_path_factory.mktemp("log") / "api.log", environ={})
    try:
        api.wait_until_ready(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"
    finally:
        api.stop()


async def drive(api_url, key, seconds=0.7):
    tally, stop = Tally(), asyncio.Event()
    traffic = Traffic([Driver(key, "token")], api_url=api_url, tally=tally)
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await traffic.run(stop)
    return tally


@pytest.mark.parametrize("key", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
async def test_calls_are_answered_and_their_tokens_counted(api_url, key):
    tally = await drive(api_url, key)
    assert tally.sent == tally.answered >= 3
    assert tally.statuses[200] >= 2
    assert tally.input_tokens > tally.output_tokens > 0


async def test_malformed_calls_are_answered_with_400(api_url):
    tally = await drive(api_url, SPOILT, seconds=0.4)
    assert set(tally.statuses) == {400}
    assert tally.failed == tally.admitted == tally.sent


async def test_calls_that_nobody_answers_are_sent_only():
    tally = await drive(f"http://127.0.0.1:{free_port()}", OPENAI, seconds=0.2)
    assert tally.sent >= 1
    assert tally.answered == 0


def test_keys_without_live_traffic_do_not_drive():
    assert choose_drivers([Key("quiet"), OPENAI], {"quiet": "x", "a": "y"}) == [Driver(OPENAI, "y")]
