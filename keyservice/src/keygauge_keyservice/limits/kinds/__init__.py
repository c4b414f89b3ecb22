"""Kinds of limits, one module each: sliding window, GCRA, quota, concurrency. A new one is a module and a line here."""

from __future__ import annotations

from keygauge_keyservice.limits.kinds.concurrency import Slots
from keygauge_keyservice.limits.kinds.gcra import Flow
from keygauge_keyservice.limits.kinds.kind import Kind, Row
from keygauge_keyservice.limits.kinds.quota import Counter
from keygauge_keyservice.limits.kinds.sliding_window import Log


def load(row: Row) -> Kind:
    """Load the state of a limit from its row."""
    if row["unit"] == "concurrent":
        return Slots.load(row)
    if row["smooth"]:
        return Flow.load(row)
    return Log.load(row) if row["window_s"] is not None else Counter.load(row)
