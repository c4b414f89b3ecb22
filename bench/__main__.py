"""All benchmarks, one after the other, each in its own process: a line of JSON as each ends, then one table.

`python -m bench`, or `make bench`, allows each five minutes at most; those of large ledgers use BENCH_EVENTS
calls (default: 200,000). Output of a benchmark other than its last line goes to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

BENCHES = (
    "overhead",
    "stream",
    "aggregator",
    "usage_parse",
    "limits",
    "served",
    "heartbeat",
    "growth",
    "ledger",
    "usage",
    "portal",
    "siege",
    "hostile",
)
SHORT = {"BENCH_EVENTS": "200000", "BENCH_ROUNDS": "8", "BENCH_SECONDS": "10", "HEARTBEAT_SECONDS": "8"}
MOST_S = 300  # per benchmark


def main() -> None:
    results: dict[str, dict[str, Any]] = {}
    for name in BENCHES:
        started = time.monotonic()
        results[name] = {"bench": name, **run(name), "took_s": round(time.monotonic() - started)}
        print(json.dumps(results[name], ensure_ascii=False), flush=True)
    Console().print(tabulate(results))
    failed = [name for name, result in results.items() if "failed" in result]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(name: str) -> dict[str, Any]:
    """Run a benchmark and return its last line, parsed."""
    command = [sys.executable, "-m", f"bench.{name}"]
    with subprocess.Popen(command, env=SHORT | os.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=MOST_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it stops its servers
            return {"failed": f"it took longer than {MOST_S} s"}
    if process.returncode:
        return {"failed": f"it ended with {process.returncode}"}
    *lines, last = output.splitlines()
    result: dict[str, Any] = json.loads(last)
    print("", f"== {name}", *lines, sep="\n", file=sys.stderr)
    return result


def tabulate(results: dict[str, dict[str, Any]]) -> Table:
    table = Table("benchmark", "figure", "value")
    for name, result in results.items():
        for figure, value in result.items():
            if figure != "bench":
                table.add_row(name, figure, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        table.add_section()
    return table


if __name__ == "__main__":
    main()
