"""Waiting in the ASGI middleware, on asyncio or trio, whichever the server runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from keygauge.clock import MS, SECOND, now_ns
from keygauge.limits.waiter import Wait

T = TypeVar("T")

_COARSE_NS = 2 * MS  # an event loop's timer may fire this late


def is_running() -> bool:
    """Return whether an event loop runs in this thread."""
    if _trio() is not None:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_thread(do: Callable[[], object]) -> None:
    """Run a function that may block without blocking the event loop."""
    trio = _trio()
    if trio is None:
        await asyncio.to_thread(do)
    else:
        await trio.to_thread.run_sync(do)


async def soon(coming: Awaitable[T], timeout_s: float) -> T | None:
    """Wait briefly for a result; None if it does not arrive."""
    trio = _trio()
    if trio is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await coming
        return None
    with trio.move_on_after(timeout_s):
        return await coming
    return None


async def end_of(wait: Wait, until_ns: int) -> None:
    """Wait until `until_ns` at most. Do not oversleep `wait.at_ns`, as loop timers do: on a schedule, delays add up."""
    if wait.at_ns is None or wait.at_ns > until_ns:
        await has_ended(wait.woken, until_ns)
        return
    await has_ended(wait.woken, wait.at_ns - _COARSE_NS)
    trio = _trio()
    sleep = asyncio.sleep if trio is None else trio.sleep
    while now_ns() < wait.at_ns and not wait.woken.done():
        await sleep(0)


async def has_ended(coming: Future[bool], deadline_ns: int) -> bool:
    """Wait for a future that another thread completes; False on timeout, or if it completed without success."""
    timeout_s = max(deadline_ns - now_ns(), 0) / SECOND
    trio = _trio()
    return await (_asyncio_ended(coming, timeout_s) if trio is None else _trio_ended(trio, coming, timeout_s))


async def _asyncio_ended(coming: Future[bool], timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[bool] = loop.create_future()

    def settle() -> None:
        if not waiter.done():
            waiter.set_result(coming.result())

    def wake(_: Future[bool]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle)

    coming.add_done_callback(wake)
    try:
        return await asyncio.wait_for(waiter, timeout_s)
    except TimeoutError:
        return False


async def _trio_ended(trio: Any, coming: Future[bool], timeout_s: float) -> bool:
    ended, token = trio.Event(), trio.lowlevel.current_trio_token()

    def wake(_: Future[bool]) -> None:
        try:
            token.run_sync_soon(ended.set)
        except trio.RunFinishedError:
            return

    coming.add_done_callback(wake)
    with trio.move_on_after(timeout_s):
        await ended.wait()
        return coming.result()
    return False


def _trio() -> Any:
    """Return trio if it runs in this thread; it is never imported for this."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None
