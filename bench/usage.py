"""A 90-day usage page's queries and the call log's first and 100th page, with few events and with many.

Both databases are those of busy.py: BENCH_EVENTS (10,000,000) is the larger size, BENCH_STATE a folder to keep them
in. A page is all of its queries, one after the other, on one connection. Pages of both databases alternate, so that
other work on the machine affects both alike.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Callable

from bench import busy

from keygauge_keyservice import database
from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import call_log as calls
from keygauge_keyservice.usage import usage

FEW = 100_000
ROUNDS = 60
WARM_UP = 3
PAGE = 50
SIZES = """
SELECT coalesce(inhparent::regclass, oid)::regclass::text AS name, sum(greatest(reltuples, 0))::bigint AS rows,
    sum(pg_relation_size(oid))::bigint AS heap, sum(pg_indexes_size(oid))::bigint AS indexes,
    sum(pg_total_relation_size(oid) - pg_relation_size(oid) - pg_indexes_size(oid))::bigint AS toast,
    sum(pg_total_relation_size(oid))::bigint AS bytes
FROM pg_class LEFT JOIN pg_inherits ON inhrelid = oid
WHERE relkind = 'r' AND coalesce(inhparent, oid) IN
    ('event'::regclass, 'rollup_recent'::regclass, 'rollup_packed'::regclass, 'usage_aggregate'::regclass)
GROUP BY 1 ORDER BY 1"""


class Pages:
    """The pages of one database."""

    def __init__(self, connection: Connection, filled: busy.Filled) -> None:
        self._connection = connection
        self._selection = usage.Selection(account_id="busy", start=filled.start, end=filled.end)
        self._chance = random.Random(1)

    def all(self) -> dict[str, Callable[[], object]]:
        """Return the pages by name, as functions."""
        return {
            "usage": self.usage,
            "usage_kolkata": lambda: self.usage(zone="Asia/Kolkata"),
            "usage_of_a_key": lambda: self.usage(key_id=f"key{self._chance.randrange(busy.KEYS)}"),
            "model_trend": self.model_trend,
            "calls_1": self.call_log(number=1),
            "calls_100": self.call_log(number=100),
            "calls_of_a_rare_key": self.call_log(number=1, key_id=f"key{busy.KEYS - 1}"),
        }

    def usage(self, *, zone: str = "UTC", key_id: str | None = None) -> None:
        """Run the queries of the portal's usage page."""
        selection: usage.Selection = {**self._selection, "key_id": key_id}
        usage.totals(self._connection, **selection)
        usage.series(self._connection, bucket="day", zone=zone, **selection)
        for by in ("model", "route", "key"):
            if key_id is None or by != "key":
                usage.breakdown(self._connection, by=by, **selection)

    def model_trend(self) -> None:
        usage.series(self._connection, bucket="day", group_by="model", **self._selection)

    def call_log(self, *, number: int, key_id: str | None = None) -> Callable[[], object]:
        """Prepare a page of the call log, by reading all pages before it."""
        selection = calls.CallFilter(
            account_id="busy", start=self._selection["start"], end=self._selection["end"], key_id=key_id
        )
        after = None
        for _ in range(number - 1):
            found = calls.find_page(self._connection, after=after, limit=PAGE, **selection)
            after = found.next or after
        return lambda: calls.find_page(self._connection, after=after, limit=PAGE, **selection)


def measure(sides: list[Pages]) -> list[dict[str, list[float]]]:
    """Return each page's times in milliseconds for both databases."""
    pages = [side.all() for side in sides]
    took: list[dict[str, list[float]]] = [{name: [] for name in side} for side in pages]
    for name in pages[0]:
        for number in range(WARM_UP + ROUNDS):
            for side, times in zip(pages, took, strict=True):
                gc.collect()
                started = time.perf_counter()
                side[name]()
                if number >= WARM_UP:
                    times[name].append((time.perf_counter() - started) * 1e3)
    return took


def p95(times: list[float]) -> float:
    return round(statistics.quantiles(times, n=20)[-1], 1)


def main() -> None:
    with busy.serve() as server:
        filled = [busy.ready(server, name, count) for name, count in (("few", FEW), ("many", busy.MANY))]
        with database.connect(filled[0].url) as few, database.connect(filled[1].url) as many:
            found = measure([Pages(few, filled[0]), Pages(many, filled[1])])
            sizes = {row.pop("name"): row for row in many.execute(SIZES)}
    for count, times in zip((FEW, busy.MANY), found, strict=True):
        print(f"{count:,} events:", {page: (round(statistics.median(one), 1), p95(one)) for page, one in times.items()})
    report(found, sizes)


def report(found: list[dict[str, list[float]]], sizes: dict[str, dict[str, int]]) -> None:
    print(f"{'MB':20}{'rows':>12}{'heap':>9}{'indexes':>9}{'toast':>9}{'all':>9}{'bytes a row':>13}")
    for name, size in sizes.items():
        parts = "".join(f"{size[part] / 1e6:9.1f}" for part in ("heap", "indexes", "toast", "bytes"))
        print(f"{name:20}{size['rows']:12,}{parts}{size['bytes'] / max(size['rows'], 1):13.0f}")
    rollups = sizes["rollup_recent"]["bytes"] + sizes["rollup_packed"]["bytes"]
    aggregates = sizes["usage_aggregate"]["bytes"]
    small, large = ({page: p95(times) for page, times in part.items()} for part in found)
    medians = [{page: round(statistics.median(times), 1) for page, times in part.items()} for part in found]
    result = {
        "events": busy.MANY,
        "small_p95_ms": small["usage"],
        "large_p95_ms": large["usage"],
        "growth": round(large["usage"] / small["usage"], 2),
        "growth_of_medians": round(medians[1]["usage"] / medians[0]["usage"], 2),
        "small": small,
        "large": large,
        "medians": medians,
        "rollup_rows": sizes["rollup_recent"]["rows"] + sizes["rollup_packed"]["rows"],
        "aggregate_rows": sizes["usage_aggregate"]["rows"],
        "event_bytes": round(sizes["event"]["bytes"] / busy.MANY),
        "rollup_mb_per_million_events": round(rollups / busy.MANY, 1),
        "aggregate_mb_per_million_events": round(aggregates / busy.MANY, 1),
        "rollup_mb_per_year": round(rollups / 1e6 * 365 / busy.DAYS),
        "aggregate_mb_per_year": round(aggregates / 1e6 * 365 / busy.DAYS),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
