import asyncio
import os
import signal
from threading import Event
from types import SimpleNamespace

import pytest

from keygauge_demo import run
from keygauge_demo.settings import DemoError
from keygauge_demo.stack.process import Process
from keygauge_demo.traffic import Traffic
from keygauge_demo.traffic_counts import TrafficCounts


@pytest.fixture
def drive():
    """`drive(*parts)` runs without any traffic and returns how often the counts were shown."""

    async def drive(*parts, interrupted=None, seconds=None):
        shown = []
        line = SimpleNamespace(update=lambda: shown.append(1))
        traffic = Traffic([], api_url="http://127.0.0.1:9", counts=TrafficCounts())
        await run.drive(traffic, parts, line, interrupted or Event(), seconds)
        return len(shown)

    return drive


async def test_traffic_ends_after_its_time_or_on_interrupt(drive):
    stopped = Event()
    stopped.set()
    async with asyncio.timeout(100):
        await drive(seconds=0.01)
        assert await drive(interrupted=stopped) == 0


async def test_a_process_that_ends_early_ends_the_demo(drive, tmp_path):
    part = Process("part", ("-c", ""), log=tmp_path / "part.log", environ={})
    part._popen.wait(100)
    with pytest.raises(DemoError, match=r"the part ended: see .*part\.log"):
        await drive(part, seconds=100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_set_the_event(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        interrupted = run.listen()
        assert not interrupted.is_set()
        os.kill(os.getpid(), number)
        assert interrupted.wait(100)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
