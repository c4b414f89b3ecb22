"""Tiers of prices as text, in US dollars per million tokens or per unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from keygauge.kinds import BY_ONE

_BY_ONE = BY_ONE | {"request"}
_IMPLIED = {"cache_read": "input", "cache_write": "input", "reasoning": "output"}  # written only if different


def write_tiers(tiers: Sequence[Mapping[str, Any]]) -> str:
    """Format tiers in the syntax of `--tier`, one per line: 200000:input=5,output=20."""
    return "\n".join(map(_write_tier, tiers))


def _write_tier(tier: Mapping[str, Any]) -> str:
    differing = (
        f"{kind}={_usd(kind, rate)}"
        for kind, rate in tier.items()
        if kind != "above" and rate and not (kind in _IMPLIED and rate == tier[_IMPLIED[kind]])
    )
    above = "" if tier.get("above") is None or tier["above"] < 0 else f"{tier['above']}:"
    return above + (",".join(differing) or "free")


def _usd(kind: str, rate: int) -> str:
    text = f"{Decimal(rate).scaleb(-15 if kind in _BY_ONE else -9):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
