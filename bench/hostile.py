"""A million calls with input chosen to use memory: the process's memory must not grow with them.

Each call has a unique key, model, route, method, error and address, and is recorded in event, aggregator and
histograms like a real one. `python -P bench/hostile.py [CALLS]`; the last line is JSON:
resident MiB after a tenth of the calls and after all of them, and the number of series.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from keygauge.call import Call
from keygauge.spool import event
from keygauge.spool.spool import Spool
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.usage import Usage, reader_for

CALLS = 1_000_000
TURN = 20_000  # calls
SPOOL_BYTES = 64 * 1024 * 1024


def make_call(number: int) -> Call:
    """Create a call, and read its answer as the middleware does."""
    call = Call(method=f"M{number}", ip=f"192.0.{number >> 8 & 255}.{number & 255}", time_ns=0, started_ns=0)
    body = {"object": "chat.completion", "model": f"model-{number}-{'x' * (number % 150)}", "usage": {}}
    body["usage"] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    reader = reader_for(b"application/json", None)
    if reader is not None:
        reader.feed(json.dumps(body).encode())
        call.usage, call.model, call.provider, call.usage_status, call.missing = reader.close(complete=True)
    call.key, call.account, call.route = f"key{number}", f"account{number}", f"/{number}"
    call.error = f"Error{number}" if number % 2 else None
    call.usage = call.usage or Usage()
    call.status = number % 700
    call.ended_ns = 10_000_000
    return call


def rss_mib() -> float:
    gc.collect()
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def run(count: int) -> dict[str, float]:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    aggregator = Aggregator(max_series=2000)
    instrument(provider.get_meter("bench"), aggregator, gauges={})
    found = {"started_mib": rss_mib()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(Path(directory), "", most_bytes=SPOOL_BYTES, on_drop=lambda reason: aggregator.dropped(reason, 1))
        for number in range(count):
            call = make_call(number)
            aggregator.started(call)
            aggregator.record(call)
            spool.append(event.line(call))
            if number % TURN == TURN - 1:
                aggregator.drain()
                aggregator.turn()
            if number == count // 10:
                found["tenth_mib"] = rss_mib()
        aggregator.drain()
        found["all_mib"] = rss_mib()
        spool.close(empty=True)
    cells = aggregator.cells()
    found["series"] = len(cells)
    found["counted"] = sum(cell.requests for cell in cells)
    found["input_tokens"] = sum(cell.input_tokens for cell in cells)
    found["took_s"] = round(time.monotonic() - started)
    return found


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)))
