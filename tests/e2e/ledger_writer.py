"""A process of a metered service from the ledger's view: a spool, its shipper, and events with known content."""

import json
import mmap
import signal
import struct
import sys
import time
from pathlib import Path

from keygauge.settings.settings import Settings
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool

BURST = 50  # events between two readings of the clock
NUMBERS = 10_000_000  # per writer: event 5 of writer 3 is number 30,000,005
START_US = 1_790_000_000_000_000
MODELS = ("gpt-4o", "gpt-4o-mini", "house-model", None)

_count = struct.Struct("<q")


def event_of(number):
    """Return the event of a number, in the order of `keygauge.spool.event.FIELDS`, derived only from the number."""
    is_limited = number % 7 == 0
    return [
        START_US + number % NUMBERS * 40_000,  # 1M of them are half a day
        "crash",
        f"key{number % 5}",
        f"/v1/route{number % 3}",
        "POST",
        429 if is_limited else 200,
        "rate_limited" if is_limited else None,
        f"192.0.2.{number % 250}",
        number % 5_000_000,
        None,
        number % 1_000,
        number % 9_000,
        None,
        0,
        None if is_limited else MODELS[number % 4],
        "openai",
        None if is_limited else number % 8_000,
        None if is_limited else number % 900,
        None if is_limited else number % 100,
        None,
        None,
        "none" if is_limited else "reported",
        "limited" if is_limited else "admitted",
        "rpm" if is_limited else None,
        f"{number:032x}",
        None,
        f"alias{number % 3}",
        f"user{number % 4}" if number % 4 else None,
    ]


def read_counts(directory):
    """Return how many events each writer has written, including killed ones."""
    return {int(path.stem): _count.unpack(path.read_bytes())[0] for path in Path(directory).glob("*.count")}


def main():
    directory, url, token, writer, per_s, most = Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:7])
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    settings = Settings(service_url=url, service_token=token, spool_dir=directory / "spool")
    log_loss = lambda reason: print("lost:", reason, flush=True)  # noqa: E731 - the test reads the log
    spool = Spool(settings.spool_dir, settings.service_address, most_bytes=1 << 40, on_drop=log_loss)
    totals = HourlyCounts()
    reporter = Reporter(settings, spool, totals, replica=f"{writer:032x}")
    shipper = Shipper(settings, spool, reporter, on_drop=log_loss, on_fault=log_loss)
    shipper.start()
    path = directory / f"{writer}.count"
    path.write_bytes(_count.pack(0))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _count.size) as count:
        started = time.monotonic()
        for number in range(most):
            event = event_of(writer * NUMBERS + number)
            spool.append(json.dumps(event, separators=(",", ":")).encode() + b"\n")
            totals.count(event[0] * 1_000, event[16] or 0, event[17] or 0)
            _count.pack_into(count, 0, number + 1)
            if number % BURST == 0:
                time.sleep(max(0.0, number / per_s - (time.monotonic() - started)))
                if stop:
                    break
    while not stop:
        time.sleep(0.05)
    spool.close(empty=shipper.stop(5))


if __name__ == "__main__":
    main()
