"""Every threshold of the dashboards and alerts, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Burn:
    """An error budget burns too fast when both windows do: at `factor` times the rate that just uses it up."""

    severity: str
    short: str
    long: str
    factor: float
    hold: str  # how long it must last


@dataclass(frozen=True)
class Thresholds:
    """What counts as bad; shares are fractions of 1."""

    availability_objective: float = 0.995  # of requests are not answered with 5xx, over 30 days
    error_share_warning: float = 0.005
    error_share_critical: float = 0.05
    duration_warning_s: float = 2.5
    duration_critical_s: float = 10.0
    quota_warning: float = 0.8
    quota_critical: float = 0.95
    limited_share: float = 0.05  # of a key's requests
    limited_requests: int = 10  # in five minutes, below which the share means nothing
    burns: tuple[Burn, ...] = (
        Burn("page", "5m", "1h", 14.4, "2m"),
        Burn("page", "30m", "6h", 6, "15m"),
        Burn("ticket", "2h", "1d", 3, "1h"),
        Burn("ticket", "6h", "3d", 1, "3h"),
    )
