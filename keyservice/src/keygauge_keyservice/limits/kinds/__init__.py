"""Kinds of limits, one module each: sliding window, GCRA, quota, concurrency.

A new kind is a module and a line in `load`. If a new field of limits selects it, the field is added to `limit_terms`,
`definitions`, the table `plan_limit` and `kind.TERMS`.
"""

from __future__ import annotations

from keygauge_keyservice.limits.kinds.concurrency import Concurrency
from keygauge_keyservice.limits.kinds.gcra import Gcra
from keygauge_keyservice.limits.kinds.kind import Kind, Row
from keygauge_keyservice.limits.kinds.quota import Quota
from keygauge_keyservice.limits.kinds.sliding_window import SlidingWindow


def load(row: Row) -> Kind:
    """Load the state of a limit from its row."""
    if row["unit"] == "concurrent":
        return Concurrency.load(row)
    if row["smooth"]:
        return Gcra.load(row)
    return SlidingWindow.load(row) if row["window_s"] is not None else Quota.load(row)
