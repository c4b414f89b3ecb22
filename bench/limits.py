"""Limits enforced by four processes on real PostgreSQL: speed, exactness, and the usable share of a limit.

The baseline, in the same run, is the package `limits` with a fixed window, its cheapest strategy: on Redis if a
server is installed, else in memory. It alternates with `hot`, and the fastest round of each counts, since other work on
the machine can only slow a round down. `hot` is one key and `zipf` 10,000, both with limits that never refuse. `over`
and `utilisation` are for one key under 1.5 times its limit: `over` is the number admitted above the limit
in the fullest real window, `utilisation` the admitted share of the limit, and `refused_us` the time of a decision
that refuses a call.

`cold_burst_503` counts 503 answers to 30 and to 300 simultaneous calls with a key that was not used before, while the
other processes spend at full speed. `header_error_pct` is the maximum difference between the remaining units in the
headers and the actually remaining ones of a monthly quota, in percent of the quota, while all processes spend it, after
the first seconds.
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
BURSTS, BURST_S = (30, 300, 30, 300, 30, 300), 12.0  # simultaneous calls, each burst with another key; maximum duration
QUOTA, HEARD_S, HEARD_PER_S = 20_000, 12.0, 200  # … per second and process
HEARD_FROM_S = 5.0  # by then, processes know each other's rates
RAMP_S = 0.3  # for leases to grow to the rate of calls
READY_S = 60.0  # for a process to be warm
SAMPLE = 32  # one in this many calls is timed individually

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
            heard_results = together(pool, hear, url, quota, HEARD_S)
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
        "header_error_pct": round(100 * most_amiss(heard_results) / QUOTA, 2),
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
    """Return the used share of the limit, after the first window."""
    since = moments[0] + WINDOW_S * SECOND
    until = moments[-1]
    return len([moment for moment in moments if since < moment <= until]) / (
        LIMIT * (until - since) / WINDOW_S / SECOND
    )


@contextmanager
def running_processes() -> Iterator[Pool]:
    """Run the processes, which start each task together when the last of them is warm."""
    context = get_context("spawn")
    with context.Pool(PROCESSES, initializer=share, initargs=(context.Barrier(PROCESSES),)) as pool:
        yield pool


def share(barrier: Barrier) -> None:
    global start  # noqa: PLW0603 - a barrier can only be passed to a pool's processes at their start
    start = barrier


start: Barrier


def together(pool: Pool, work: Any, *arguments: object) -> list[Result]:
    """Run the same function in all processes at once."""
    return pool.starmap(work, [(*arguments, number) for number in range(PROCESSES)], chunksize=1)


def make_authorizer(url: str) -> tuple[Heartbeat, Authorizer]:
    settings = Settings(service_url=url, service_token=TOKEN, spool_dir=Path(tempfile.gettempdir()))
    heartbeat = Heartbeat(settings, on_fault=print, streams=())
    heartbeat.start()
    return heartbeat, Authorizer(heartbeat, enforces=True, wait_s=settings.wait_s)


def make_call() -> Call:
    return Call(method="GET", ip=None, time_ns=time.time_ns(), started_ns=now_ns())


def admits(authorizer: Authorizer, token: bytes) -> bool:
    """Make one call, waiting if the authorizer says so; return whether it was admitted."""
    call = make_call()
    try:
        while isinstance(decision := authorizer.decide(call, token), Wait):
            pause(decision, 5)
        return decision is None
    finally:
        authorizer.leave(call)


def pause(wait: Wait, most_s: float) -> None:
    """Wait until the decision on a call may be retried."""
    left_s = most_s if wait.at_ns is None else max(wait.at_ns - now_ns(), 0) / SECOND
    with suppress(NotYet):
        wait.woken.result(min(most_s, left_s))


def spend(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Admit calls as fast as possible; many keys are first warmed up and then chosen by Zipf's law."""
    heartbeat, authorizer = make_authorizer(url)
    chance = random.Random(number)
    raw = [token.encode() for token in tokens]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(raw))))
    picks = chance.choices(raw, cum_weights=weights, k=200_000 if len(raw) > 1 else 1_000)
    turn = len(raw) * number // PROCESSES  # each process starts with a different key
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
    """Call in a loop; return the admissions per second, and the durations of some in nanoseconds."""
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
    """Call once with every key, hundreds at a time."""
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
    """Call at an even pace, 1.5 times the limit over all processes; return the times of admission."""
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
    """Make simultaneous calls with each cold key, or spend at full speed meanwhile; count refusals with 503."""
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
    """Make one call, and return whether the answer is 503."""
    call = make_call()
    try:
        while isinstance(decision := authorizer.decide(call, token), Wait):
            pause(decision, 5)
        return isinstance(decision, Refusal) and decision.outcome == "unavailable"
    finally:
        authorizer.leave(call)


def hear(url: str, tokens: list[str], duration_s: float, number: int) -> Result:
    """Call at an even pace; return each admission's time and the remaining units in its headers."""
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
    """Return the maximum difference between the remaining units in headers and the actual ones."""
    told = sorted(one for result in results for one in result["told"])
    since = told[0][0] + HEARD_FROM_S * SECOND
    return max(abs(QUOTA - spent - left) for spent, (now, left) in enumerate(told, start=1) if now >= since)


class Clock:
    """The clock, which remembers its last reading in this thread: the time of an admission."""

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
    """Run Redis if it is installed; yield the baseline's description and storage URL."""
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
    from limits import RateLimitItemPerMinute  # noqa: PLC0415 - only in the baseline's processes
    from limits.storage import storage_from_string  # noqa: PLC0415 - as above
    from limits.strategies import FixedWindowRateLimiter  # noqa: PLC0415 - as above

    limiter, item = FixedWindowRateLimiter(storage_from_string(storage)), RateLimitItemPerMinute(10**9)
    start.wait(READY_S)
    started, until, count = now_ns(), now_ns() + int(duration_s * SECOND), 0
    while now_ns() < until:
        count += limiter.hit(item, "hot")
    return {"per_s": count * SECOND / (now_ns() - started)}


def issue(connection: database.Connection, name: str, *, amount: int, window_s: int | None, keys: int) -> list[str]:
    """Create a plan, an account and keys, up to 10,000 at once."""
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
