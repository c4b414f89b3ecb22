"""Heartbeats of many replicas, one per second each, to `keygauge serve` with one worker and its PostgreSQL.

Each replica has its own connection; each heartbeat returns a lease and requests another, from one of a hundred
accounts. Prints a row per number of replicas; the last line is the largest number. CPU time is that of all
processes of the key service and PostgreSQL, as counted by the operating system.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg
from bench.service import LIMITS, PEPPER, TOKEN, Service, run_service

from keygauge.protocol import Heartbeat
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat, service_keys
from keygauge_keyservice.sync.heartbeat import Received

REPLICAS = (10, 100, 1000)
_ACCOUNTS = 100
_WARM_UP_S = 3.0
_SECONDS = float(os.environ.get("HEARTBEAT_SECONDS") or 15)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Replica:
    """One process of a metered service, as the key service sees it."""

    number: int
    limit: str
    durations_s: list[float] = field(default_factory=list)
    failures: int = 0
    _known: dict[str, Any] = field(default_factory=lambda: {"cursor": None, "epoch": None})
    _lease: str | None = None

    def message(self) -> dict[str, Any]:
        """Build the heartbeat of a second with some traffic."""
        return {
            "replica": f"{self.number:032x}",
            "service": "bench",
            "host": "h",
            "version": "0",
            "mode": "enforce",
            **self._known,
            "acquire": [{"limit": self.limit, "units": 10}],
            "return": [{"lease": self._lease, "unspent": 5}] if self._lease else [],
        }

    def take(self, answer: dict[str, Any]) -> None:
        """Store what the next message needs from an answer."""
        self._known = {"cursor": answer["cursor"], "epoch": answer["epoch"]}
        self._lease = answer["grants"][0]["lease"] if answer["grants"] else None

    async def run(self, address: tuple[str, int], begin: float, until: float, of: int) -> None:
        """Send a heartbeat once per second, at an offset of its own."""
        reader, writer = await asyncio.open_connection(*address)
        turn = begin - _WARM_UP_S + self.number / of
        while turn < until:
            await asyncio.sleep(max(0.0, turn - time.monotonic()))
            sent = time.monotonic()
            status, body = await _post(reader, writer, json.dumps(self.message()).encode())
            if sent >= begin:
                self.durations_s.append(time.monotonic() - sent)
                self.failures += status != b"200"
            if status == b"200":
                self.take(json.loads(body))
            turn = max(turn + 1.0, time.monotonic())
        writer.close()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[bytes, bytes]:
    head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return answer.split(b" ", 2)[1], await reader.readexactly(int(length.partition(b":")[2]))


def measure(service: Service, limits: list[str], count: int) -> dict[str, Any]:
    """Measure the heartbeats of `count` replicas."""
    replicas = [Replica(number, limits[number % len(limits)]) for number in range(count)]
    parts = urlsplit(service.url)
    address = (parts.hostname or "", parts.port or 0)

    async def run() -> float:
        begin = time.monotonic() + _WARM_UP_S
        beating = asyncio.gather(*(one.run(address, begin, begin + _SECONDS, count) for one in replicas))
        await asyncio.sleep(begin - time.monotonic())
        before = _cpu_s(service.directory)
        await beating
        return _cpu_s(service.directory) - before

    cpu_s = asyncio.run(run())
    durations = sorted(duration for one in replicas for duration in one.durations_s)
    return {
        "replicas": count,
        "p50_ms": round(statistics.median(durations) * 1e3, 1),
        "p99_ms": round(durations[len(durations) * 99 // 100] * 1e3, 1),
        "cpu_ms_per_beat": round(cpu_s * 1e3 / len(durations), 2),
        "beats_per_s": round(len(durations) / _SECONDS, 1),
        "failures": sum(one.failures for one in replicas),
    }


def _cpu_s(directory: Path) -> float:
    """Add up the CPU time of the processes that use this directory: the key service's and PostgreSQL's."""
    mark = str(directory).encode()
    total = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                is_ours = mark in told or mark in bytes((process / "cwd").readlink())
                stat = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended, or belongs to another user
                continue
            if is_ours:
                total += int(stat[11]) + int(stat[12])
    return total / _TICKS


def count_statements(service: Service, limit: str) -> int:
    """Count the SQL statements of one heartbeat."""
    sent: list[str] = []

    class Watching(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            sent.append(str(query))
            return super().execute(query, *args, **options)

    replica = Replica(10**6, limit)
    connection = service.connection
    usual, connection.cursor_factory = connection.cursor_factory, Watching
    for _ in range(2):
        sent.clear()
        message = msgspec.convert(replica.message(), Heartbeat)
        with connection.transaction():
            book = PriceBook(PublicPrices())
            (answer,) = heartbeat.answer(
                connection, [Received(message, None)], peppers=Peppers.parse(PEPPER), prices=book
            )
        replica.take(msgspec.to_builtins(answer))
    connection.cursor_factory = usual
    return len(sent)


def make_limits(service: Service) -> list[str]:
    """Create accounts with a key each, and return the ids of their limits."""
    connection = service.connection
    with connection.transaction():
        plans.create(connection, plan_id="bench_beat", name="bench", limits=LIMITS[:1], actor="bench")
        made = [
            accounts.create(connection, name=f"a{number}", plan_id="bench_beat", actor="bench").id
            for number in range(_ACCOUNTS)
        ]
        connection.execute(
            "INSERT INTO key (id, account_id, name) SELECT id, id, id FROM account WHERE id = ANY(%s)", (made,)
        )
        service_keys.add(connection, "", made)
        row = connection.execute("SELECT id FROM plan_limit WHERE plan_id = 'bench_beat'").fetchone()
    return [f"{row['id'] if row else 0}:{account}" for account in made]


def main() -> None:
    """Print a row per number of replicas."""
    with run_service() as service:
        limits = make_limits(service)
        statements = count_statements(service, limits[0])
        for count in REPLICAS:
            row = measure(service, limits, count) | {"statements_per_beat": statements}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
