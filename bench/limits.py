"""Limits held by four processes on real PostgreSQL: how fast, how exactly, how much of a limit can be used.

The baseline, in the same run, is the package `limits` with a fixed window, its cheapest strategy: on Redis where a
server is installed, else in memory. It and `hot` take turns; of each the fastest round counts, since what else runs on
the machine only ever makes one slower. `hot` is one key and `zipf` 10,000, both with limits that do not refuse; `over`
and `utilisation` are of one key that is asked for 1.5 times its limit: `over` counts what was admitted above the limit
in the fullest real window, `utilisation` is the admitted part of what the limit allows, `refused_us` what the decision
takes that refuses a call.

`cold_burst_503` are the answers of 503 to 30 and to 300 calls at once with a key that nobody used before, while the
other processes spend at full speed. `header_error_pct` is how far the remaining units that callers are told are from
those that remain of a monthly quota, at most, in percent of the quota, while all processes spend it, once they have
done so for some seconds.
"""

from __future__ import annotations

import array
import json
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from bench.service import PEPPER, TOKEN, postgresql, serve

from keygauge.call import Call
from keygauge.clock import SECOND, now_ns
from keygauge.key import digest, generate
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.refusal import Refusal
from keygauge.limits.waiter import Wait
from keygauge.settings.settings import Settings
from keygauge.sync.heartbeat import Heartbeat
from keygauge_keyservice import database
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.secret import Peppers

PROCESSES = 4
KEYS = 10_000
LIMIT, WINDOW_S, LOAD = 3_000, 10, 1.5
ROUNDS, ROUND_S, ZIPF_S, OFFERED_S = 10, 1.0, 5.0, 32.0
BURSTS, BURST_S = (30, 300, 30, 300, 30, 300), 12.0  # calls at once, each time with another key; so long at most
QUOTA, HEARD_S, HEARD_PER_S = 20_000, 12.0, 200  # … a second in each process
HEARD_FROM_S = 5.0  # by then processes know how fast the others go
RAMP_S = 0.3  # after which leases are as large as the calls are many
READY_S = 60.0  # for a process to be warm
SAMPLE = 32  # one call in so many is timed by itself

Result = dict[str, Any]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as (url, database_url):
        with database.connect(database_url) as connection:
            hot = issue(connection, "hot", amount=10**9, window_s=60, keys=1)
            zipf = issue(connection, "zipf", amount=10**9, window_s=None, keys=KEYS)
            offered = issue(connection, "offered", amount=LIMIT, window_s=WINDOW_S, keys=1)
            cold = issue(connection, "cold", amount=10**6, window_s=60, keys=len(BURSTS))
            quota = issue(connection, "quota", amount=QUOTA, window_s=None, keys=1)
        with running_processes() as pool:
            with running_baseline(Path(directory)) as (baseline, storage):
                rounds = [
                    (together(pool, spend, url, hot, ROUND_S), together(pool, hit, storage, ROUND_S))
                    for _ in range(ROUNDS)
                ]
            zipf_results = together(pool, spend, url, zipf, ZIPF_S)
            offered_results = together(pool, offer, url, offered, OFFERED_S)
            told_results = together(pool, hear, url, quota, HEARD_S)
            refused = sum(result["refused"] for result in together(pool, burst, url, hot + cold, BURST_S))
    hot_results = [result for mine, _ in rounds for result in mine]
    moments = sorted(moment for result in offered_results for moment in result["moments"])
    report = {
        "processes": PROCESSES,
        "limit": LIMIT,
        "admitted": len(moments),
        "over": max(0, most_in_any_window(moments) - LIMIT),
        "hot_admits_per_s": round(max(per_s(mine) for mine, _ in rounds)),
        "zipf_admits_per_s": round(per_s(zipf_results)),
        "baseline": baseline,
        "baseline_per_s": round(max(per_s(theirs) for _, theirs in rounds)),
        "p99_us": round(max(result["p99_us"] for result in hot_results), 2),
        "utilisation": round(use(moments), 3),
        "refused_us": round(statistics.median(took for result in offered_results for took in result["refused_us"]), 2),
        "cold_burst_503": refused,
        "header_error_pct": round(100 * most_amiss(told_results) / QUOTA, 2),
    }
    more = {
        "window_s": WINDOW_S,
        "p50_us": round(statistics.median(result["p50_us"] for result in hot_results), 2),
        "ratio_to_baseline": round(report["hot_admits_per_s"] / report["baseline_per_s"], 1),
        "ratios": [round(per_s(mine) / per_s(theirs), 1) for mine, theirs in rounds],
    }
    for name, value in (report | more).items():
        print(f"{name:20} {value}")
    print(json.dumps(report))


def per_s(results: list[Result]) -> float:
    return float(sum(result["per_s"] for result in results))


def most_in_any_window(moments: list[int]) -> int:
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > WINDOW_S * SECOND:
            first += 1
        most = max(most, last - first + 1)
    return most


def use(moments: list[int]) -> float:
    """Tell which part of the limit was used, once the first window is full."""
    since = moments[0] + WINDOW_S * SECOND
    until = moments[-1]
    return len([moment for moment in moments if since < moment <= until]) / (
        LIMIT * (until - since) / WINDOW_S / SECOND
    )


@contextmanager
def running_processes() -> Iterator[Pool]:
    """Run the processes, which begin each work at once: when the last of them is warm."""
    context = get_context("spawn")
    with context.Pool(PROCESSES, initializer=share, initargs=(context.Barrier(PROCESSES),)) as pool:
        yield pool


def share(barrier: Barrier) -> None:
    global start  # noqa: PLW0603 - a barrier can be handed to a pool's processes at their start only
    start = barrier


start: Barrier


def together(pool: Pool, work: Any, *arguments: object) -> list[Result]:
    """Do the same in all processes at once."""
    return pool.starmap(work, [(*arguments, number) for number in range(PROCESSES)], chunksize=1)


def make_authorizer(url: str) -> tuple[Heartbeat, Authorizer]:
    settings = Settings(service_url=url, service_token=TOKEN, spool_dir=Path(tempfile.gettempdir()))
    heartbeat = Heartbeat(settings, on_fault=print, streams=())
    heartbeat.start()
    return heartbeat, Authorizer(heartbeat, enforces=True, wait_s=settings.wait_s)


def make_call() -> Call:
    return Call(method="GET", ip=None, time_ns=time.time_ns(), started_ns=now_ns())


def admits(authorizer: Authorizer, token: bytes) -> bool:
    """Call once, and wait where the authorizer says so."""
    call = make_call()
    try:
        while isinstance(decision := authorizer.decide(call, token), Wait):
            pause(decision, 5)
        return decision is None
    finally:
        authorizer.leave(call)


def pause(wait: Wait, most_s: float) -> None:
    """Wait until a call may be decided on again."""
    left_s = most_s if wait.at_ns is None else max(wait.at_ns - now_ns(), 0) / SECOND
    with suppress(NotYet):
        wait.woken.result(min(most_s, left_s))


def spend(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Admit as fast as can be; with many keys by Zipf's law, once those have been seen."""
    heartbeat, authorizer = make_authorizer(url)
    chance = random.Random(number)
    raw = [token.encode() for token in tokens]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(raw))))
    picks = chance.choices(raw, cum_weights=weights, k=200_000 if len(raw) > 1 else 1_000)
    turn = len(raw) * number // PROCESSES  # each begins elsewhere
    warm_up(authorizer, raw[turn:] + raw[:turn])
    start.wait(READY_S)
    spin(authorizer, picks, RAMP_S)
    per_s, timed = spin(authorizer, picks, duration_s)
    heartbeat.stop()
    sorted_ns = sorted(timed)
    return {
        "per_s": per_s,
        "p50_us": sorted_ns[len(sorted_ns) // 2] / 1000,
        "p99_us": sorted_ns[int(len(sorted_ns) * 0.99)] / 1000,
    }


def spin(authorizer: Authorizer, picks: list[bytes], duration_s: float) -> tuple[float, list[int]]:
    """Call on and on; return the admissions a second, and how long some took, in nanoseconds."""
    count, place, timed = 0, 0, array.array("q")
    call = make_call()
    decide = authorizer.decide
    started = now_ns()
    until = started + int(duration_s * SECOND)
    while now_ns() < until:
        for _ in range(SAMPLE):
            place += 1
            pick = picks[place % len(picks)]
            if decide(call, pick) is None:
                count += 1
            else:
                authorizer.leave(call)
                count += admits(authorizer, pick)
        before = time.perf_counter_ns()
        if decide(call, picks[place % len(picks)]) is None:
            timed.append(time.perf_counter_ns() - before)
            count += 1
        else:
            authorizer.leave(call)
    return count * SECOND / (now_ns() - started), list(timed)


def warm_up(authorizer: Authorizer, tokens: list[bytes]) -> None:
    """Call with every key once, hundreds at a time."""
    for first in range(0, len(tokens), 200):
        waiting = [(make_call(), token) for token in tokens[first : first + 200]]
        while waiting:
            decided = [(call, token, authorizer.decide(call, token)) for call, token in waiting]
            for call, _, decision in decided:
                if isinstance(decision, Wait):
                    pause(decision, 10)
                else:
                    authorizer.leave(call)
            waiting = [(call, token) for call, token, decision in decided if isinstance(decision, Wait)]


def offer(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Call at an even pace, together 1.5 times the limit; tell when each was admitted."""
    heartbeat, authorizer = make_authorizer(url)
    token = tokens[0].encode()
    clock = heartbeat.admission.clock = Clock()
    moments, refused_us = array.array("q"), []
    step_ns = int(WINDOW_S * SECOND * PROCESSES / (LIMIT * LOAD))
    start.wait(READY_S)
    turn = now_ns() + number * step_ns // PROCESSES
    until = turn + int(duration_s * SECOND)
    while turn < until:
        time.sleep(max(turn - now_ns(), 0) / SECOND)
        if admits(authorizer, token):
            moments.append(clock.last)
        else:  # the next one is refused at once
            call, before = make_call(), time.perf_counter_ns()
            decision = authorizer.decide(call, token)
            if isinstance(decision, Refusal):
                refused_us.append((time.perf_counter_ns() - before) / 1000)
            elif decision is None:
                moments.append(clock.last)
            authorizer.leave(call)
        turn += step_ns
    heartbeat.stop()
    return {"moments": list(moments), "refused_us": refused_us}


def burst(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Call many times at once with each cold key, or spend at full speed beside; count what was refused with 503."""
    heartbeat, authorizer = make_authorizer(url)
    hot, *cold = [token.encode() for token in tokens]
    warm_up(authorizer, [hot])
    start.wait(READY_S)
    refused = 0
    if number:
        spin(authorizer, [hot], duration_s)
    else:
        for size, token in zip(BURSTS, cold, strict=True):
            with ThreadPoolExecutor(size) as threads:
                refused += sum(threads.map(lambda token: is_unavailable(authorizer, token), [token] * size))
    heartbeat.stop()
    return {"refused": refused}


def is_unavailable(authorizer: Authorizer, token: bytes) -> bool:
    """Call once, and tell whether the answer is 503."""
    call = make_call()
    try:
        while isinstance(decision := authorizer.decide(call, token), Wait):
            pause(decision, 5)
        return isinstance(decision, Refusal) and decision.outcome == "unavailable"
    finally:
        authorizer.leave(call)


def hear(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Call at an even pace; tell when each was admitted, and what its answer told to remain."""
    heartbeat, authorizer = make_authorizer(url)
    token = tokens[0].encode()
    told = []
    step_ns = SECOND // HEARD_PER_S
    start.wait(READY_S)
    turn = now_ns() + number * step_ns // PROCESSES
    until = turn + int(duration_s * SECOND)
    while turn < until:
        time.sleep(max(turn - now_ns(), 0) / SECOND)
        call = make_call()
        while isinstance(decision := authorizer.decide(call, token), Wait):
            pause(decision, 5)
        if decision is None:
            now = now_ns()
            fields = dict(call.policy.fields(call.policy.as_text, now))
            told.append((now, int(fields["x-ratelimit-remaining-requests"])))
        authorizer.leave(call)
        turn += step_ns
    heartbeat.stop()
    return {"told": told}


def most_amiss(results: list[Result]) -> int:
    """Tell how far what was told to remain is from what remained then, at most."""
    told = sorted(one for result in results for one in result["told"])
    since = told[0][0] + HEARD_FROM_S * SECOND
    return max(abs(QUOTA - spent - left) for spent, (now, left) in enumerate(told, start=1) if now >= since)


class Clock:
    """The clock, and what it told this thread last: the moment that an admission rests on."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.last = 0

    def __call__(self) -> int:
        now = now_ns()
        if threading.get_ident() == self.thread:
            self.last = now
        return now


@contextmanager
def running_baseline(directory: Path) -> Iterator[tuple[str, str]]:
    """Run Redis where it is installed; tell what the baseline is, and the storage it is to use."""
    server = shutil.which("redis-server")
    if server is None:
        yield "limits, fixed window, memory (no redis-server here; not shared)", "memory://"
        return
    socket = directory / "redis.sock"
    process = subprocess.Popen(
        [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not socket.exists():
            time.sleep(0.05)
        yield "limits, fixed window, Redis on a unix socket", f"redis+unix://{socket}"
    finally:
        process.terminate()
        process.wait()


def hit(storage: str, duration_s: float, _number: int) -> Result:
    from limits import RateLimitItemPerMinute  # noqa: PLC0415 - of the baseline's processes only
    from limits.storage import storage_from_string  # noqa: PLC0415 - as above
    from limits.strategies import FixedWindowRateLimiter  # noqa: PLC0415 - as above

    limiter, item = FixedWindowRateLimiter(storage_from_string(storage)), RateLimitItemPerMinute(10**9)
    start.wait(READY_S)
    started, until, count = now_ns(), now_ns() + int(duration_s * SECOND), 0
    while now_ns() < until:
        count += limiter.hit(item, "hot")
    return {"per_s": count * SECOND / (now_ns() - started)}


def issue(connection: database.Connection, name: str, *, amount: int, window_s: int | None, keys: int) -> list[str]:
    """Make a plan, an account and keys; 10,000 of them at once."""
    period = None if window_s else "month"
    limit = definitions.Limit(name=name, unit="request", amount=amount, window_s=window_s, period=period, subject="key")
    plans.create(connection, plan_id=name, name=name, limits=[limit], actor="bench")
    connection.execute("INSERT INTO account (id, name, plan_id) VALUES (%s, %s, %s)", (name, name, name))
    peppers = Peppers.parse(PEPPER)
    tokens = [generate("live") for _ in range(keys)]
    ids = [token.split("_")[2][:12] for token in tokens]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO key (id, account_id, name) VALUES (%s, %s, 'bench')", [(key, name) for key in ids]
        )
        cursor.executemany(
            "INSERT INTO key_secret (key_id, number, hash, pepper_version) VALUES (%s, 1, %s, %s)",
            [(key, peppers.hash(digest(token), 1), 1) for key, token in zip(ids, tokens, strict=True)],
        )
    connection.commit()
    return tokens


@contextmanager
def running(directory: Path) -> Iterator[tuple[str, str]]:
    """Run PostgreSQL and the key service."""
    with postgresql(directory) as server:
        with database.connect(server.get_uri()) as connection:
            database.migrate(connection)
        with serve(server.get_uri()) as url:
            yield url, server.get_uri()


if __name__ == "__main__":
    main()
