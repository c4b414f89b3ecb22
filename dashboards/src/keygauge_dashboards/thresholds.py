"""Every threshold of the dashboards and alerts, in one place."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import yaml

from keygauge.command_line.command import CommandError
from keygauge.metrics import DURATION_BUCKETS_S
from keygauge.warning_levels import (
    EXPIRES_SOON_DAYS,
    QUOTA_NEAR,
    QUOTA_SHARES,
    SPIKE_FACTOR,
    SPIKE_REQUESTS,
    UNUSED_DAYS,
)

Severity = Literal["page", "ticket"]


@dataclass(frozen=True)
class Burn:
    """An error budget burns too fast if it does in both windows: at `factor` times the rate that just uses it up."""

    severity: Severity
    short: str  # durations in Prometheus' format, such as 30m
    long: str
    factor: float
    hold: str  # how long the condition must last

    def __post_init__(self) -> None:
        if self.severity not in get_args(Severity):
            raise CommandError(f"thresholds: burns: severity is {self.severity!r}: choose page or ticket")
        for name in ("short", "long", "hold"):
            given = getattr(self, name)
            if not re.fullmatch(r"[1-9][0-9]*[smhdw]", str(given)):
                raise CommandError(f"thresholds: burns: {name} is {given!r}: use a duration, such as 30m")
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float) or not 0 < self.factor < math.inf:
            raise CommandError(f"thresholds: burns: factor is {self.factor!r}: use a number above 0")


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of alerts and colours; shares are fractions of 1."""

    # services, over 30 days
    availability_objective: float = 0.995  # of requests are not answered with 5xx
    speed_objective: float = 0.95  # of requests take no longer than `slow_s`
    slow_s: float = 10.0  # one of keygauge.metrics.DURATION_BUCKETS_S
    burns: tuple[Burn, ...] = (
        Burn("page", "5m", "1h", 14.4, "2m"),
        Burn("page", "30m", "6h", 6, "15m"),
        Burn("ticket", "2h", "1d", 3, "1h"),
        Burn("ticket", "6h", "3d", 1, "3h"),
    )
    burn_requests: int = 10  # failed or slow ones in the long window; fewer are no trend
    error_share_warning: float = 0.005
    error_share_critical: float = 0.05
    duration_warning_s: float = 2.5
    duration_critical_s: float = 10.0

    # limits and budgets
    limited_share: float = 0.05  # of a key's requests
    limited_requests: int = 10  # in five minutes; below, the share is meaningless
    quota_levels: tuple[float, ...] = QUOTA_SHARES  # the same as for customers' notices
    cost_levels: tuple[float, ...] = (0.8, 1.0)
    quota_warning: float = QUOTA_NEAR
    quota_critical: float = 0.95
    forecast_share: float = 0.2  # used before a forecast is made

    # keys
    spike_factor: float = SPIKE_FACTOR  # times the seven-day average
    spike_requests: int = SPIKE_REQUESTS  # in an hour; fewer are no spike
    new_key_requests: int = 5000  # in the first hour of a key
    auth_failures: int = 100  # in five minutes
    expiry_days: tuple[int, ...] = (EXPIRES_SOON_DAYS, 3)
    unused_days: int = UNUSED_DAYS

    # self-monitoring
    beat_age_s: float = 30.0  # three times as long as replicas continue without the key service
    spool_age_s: float = 300.0
    drift_share: float = 0.02  # between the ledger and the metrics
    drift_requests: int = 100  # in an hour; below, the share is meaningless
    unchecked_s: float = 600.0  # since the last comparison of ledger and replicas, which is made every minute


def read(text: str) -> Thresholds:
    """Read thresholds from YAML: names and numbers, or lists of them; others keep their defaults.

    `burns` is a list of mappings with the members of `Burn`, the windows from short to long.

    Raises:
        CommandError: the text is not YAML, a name does not exist, or its value has the wrong type or makes no sense.
    """
    try:
        given = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CommandError(f"thresholds: this is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise CommandError("thresholds: use a YAML mapping of names to numbers")
    defaults = {field.name: field.default for field in fields(Thresholds) if field.name != "burns"}
    burns = _burns(given.pop("burns")) if "burns" in given else Thresholds.burns
    values: dict[str, Any] = {name: _like(defaults, name, value) for name, value in given.items()}
    _require_sense(values)
    return Thresholds(**values, burns=burns)


def _burns(given: object) -> tuple[Burn, ...]:
    members = {field.name for field in fields(Burn)}
    burns = given if isinstance(given, list) else []
    if not burns or not all(isinstance(burn, dict) and set(burn) == members for burn in burns):
        raise CommandError(f"thresholds: burns is {given!r}: use a list of mappings with {', '.join(sorted(members))}")
    return tuple(Burn(**burn) for burn in burns)


def _require_sense(values: dict[str, Any]) -> None:
    """Raise if a value would make an alert fire never or always."""
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(0 < number < math.inf for number in numbers):
            raise CommandError(f"thresholds: {name} is {value!r}: use numbers above 0")
        if name.endswith(("_objective", "_share")) and value >= 1:
            raise CommandError(f"thresholds: {name} is {value!r}: use a fraction below 1")
    for name, falls in (("quota_levels", False), ("cost_levels", False), ("expiry_days", True)):
        levels = values.get(name, ())
        if list(levels) != sorted(set(levels), reverse=falls):
            raise CommandError(
                f"thresholds: {name} is {list(levels)}: let each be {'below' if falls else 'above'} the one before"
            )
    if values.get("slow_s", DURATION_BUCKETS_S[0]) not in DURATION_BUCKETS_S:
        bounds = ", ".join(f"{bound:g}" for bound in DURATION_BUCKETS_S)
        raise CommandError(f"thresholds: slow_s is {values['slow_s']}: durations are counted up to {bounds}")


def _like(defaults: dict[str, Any], name: str, value: object) -> object:
    if name not in defaults:
        raise CommandError(f"thresholds: there is no {name!r}: choose among {', '.join(defaults)}")
    many = isinstance(defaults[name], tuple)
    numbers = value if many and isinstance(value, list) else [value]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers) or not numbers:
        raise CommandError(f"thresholds: {name} is {value!r}: use {'a list of numbers' if many else 'a number'}")
    return tuple(numbers) if many else value
