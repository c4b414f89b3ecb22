"""The labels of a call, and their folding into a bounded number of series, even for hostile or unbounded values."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

from keygauge.call import ANONYMOUS, INVALID, Outcome, StreamKind
from keygauge.telemetry.heavy_hitters import HeavyHitters

OTHER_KEY = "other"  # the key id shared by keys without a place
OTHER = "_other"
OTHER_METHOD = "_OTHER"  # the value that OpenTelemetry's conventions use, also for errors
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
NO_STATUS = 0  # the call ended without a status, or with an invalid one

MAX_RESTS = 250  # `rest` creates fewer series per metric: 3 keys x 41 statuses x error or none

_SPECIAL_KEYS = frozenset({ANONYMOUS, INVALID, OTHER_KEY})
_OUTCOMES = frozenset(get_args(Outcome))
_STREAMS = frozenset(get_args(StreamKind))
_MAX_LENGTH = 200  # real names are shorter, and names cost memory and bandwidth


RANKED = 4  # the first labels of `Labels`, whose names can be replaced by busier ones
BASE = RANKED + 1  # the first labels of `Labels`, by which tokens are counted


class Labels(NamedTuple):
    """The labels that identify a series."""

    key: str
    route: str
    model: str | None  # the model it counts for
    requested: str | None  # the model named by the request
    provider: str | None
    method: str
    status: int
    error: str | None
    outcome: str
    limit: str | None
    stream: str | None
    missing: str | None


class Names:
    """The names of one label: the first `most` are kept, later ones fold into `rest` and count in `contenders`."""

    def __init__(self, most: int, rest: str = OTHER) -> None:
        self._most = most
        self._rest = rest
        self._kept = {rest}
        self.contenders = HeavyHitters()

    @property
    def is_full(self) -> bool:
        """Return whether new names must fold."""
        return len(self._kept) > self._most

    def fold(self, name: Any) -> str:
        """Return the name to count under."""
        if isinstance(name, str) and name in self._kept:
            return name
        if not _is_name(name):
            return self._rest
        if len(self._kept) > self._most:
            self.contenders.add(name)
            return self._rest
        self._kept.add(name)
        return str(name)

    def fold_unproven(self, name: str | None) -> str | None:
        """Fold a name that a client may have made up: such names get at most half of the places and replace none."""
        if isinstance(name, str) and name not in self._kept and len(self._kept) > self._most // 2:
            return self._rest if name else None
        return self.fold_optional(name)

    @property
    def kept(self) -> frozenset[str]:
        """The names that have a place."""
        return frozenset(self._kept - {self._rest})

    def swap(self, out: str, name: str) -> None:
        """Give the place of one name to another."""
        self._kept.discard(out)
        self._kept.add(name)

    def fold_optional(self, name: Any) -> str | None:
        """Return the name to count under; None for None and ""."""
        return self.fold(name) if name is not None and name != "" else None


class Cardinality:
    """Bounds on the values of each label of `Labels`."""

    _MAX_STATUSES = 40

    def __init__(self, *, max_keys: int, max_routes: int, max_models: int) -> None:
        self._keys = Names(max_keys, OTHER_KEY)
        self._routes = Names(max_routes)
        self._models = Names(max_models)
        self._requested = Names(max_models)
        self.ranked = {"key": self._keys, "route": self._routes, "model": self._models, "requested": self._requested}
        self._providers = Names(20)
        self._errors = Names(100, OTHER_METHOD)
        self._limits = Names(100)
        self._missing = Names(20)
        self._statuses: set[int] = set()

    def fold(self, labels: Labels, *, is_proven: bool = True) -> Labels:
        """Return the labels to count under; equal to `labels` if none had to fold.

        `is_proven` is false if only the request of a failed call names the model.
        """
        models, requested = (
            (names.fold_optional if is_proven else names.fold_unproven) for names in (self._models, self._requested)
        )
        return Labels(
            _one_of(_SPECIAL_KEYS, labels.key) or self._keys.fold(labels.key),
            self._routes.fold(labels.route),
            models(labels.model),
            requested(labels.requested),
            self._providers.fold_optional(labels.provider),
            _one_of(METHODS, labels.method) or OTHER_METHOD,
            self._fold_status(labels.status),
            self._errors.fold_optional(labels.error),
            _one_of(_OUTCOMES, labels.outcome) or OTHER,
            self._limits.fold_optional(labels.limit),
            _one_of(_STREAMS, labels.stream),
            self._missing.fold_optional(labels.missing),
        )

    def _fold_status(self, status: Any) -> int:
        if not isinstance(status, int) or not 100 <= status <= 599:  # noqa: PLR2004 - what HTTP allows
            return NO_STATUS
        if status not in self._statuses:
            if len(self._statuses) >= self._MAX_STATUSES:
                return NO_STATUS
            self._statuses.add(int(status))
        return int(status)


def rest(series: Labels) -> Labels:
    """Return the series for calls that no longer fit: there are few, and they keep status and outcome."""
    return series._replace(
        key=_one_of(_SPECIAL_KEYS, series.key) or OTHER_KEY,
        route=OTHER,
        model=OTHER,
        requested=OTHER,
        provider=OTHER,
        method=OTHER_METHOD,
        error=series.error and OTHER_METHOD,
        limit=series.limit and OTHER,
        missing=series.missing and OTHER,
    )


def nameless(status: Any, outcome: Any) -> Labels:
    """Return the series, one of those of `rest`, for a call of which only status and outcome are usable."""
    known = status // 100 * 100 if type(status) is int and 100 <= status <= 599 else NO_STATUS  # noqa: PLR2004 - HTTP
    outcome = _one_of(_OUTCOMES, outcome) or OTHER
    return Labels(OTHER_KEY, OTHER, OTHER, OTHER, OTHER, OTHER_METHOD, known, None, outcome, None, None, None)


def _is_name(name: Any) -> bool:
    # A lone surrogate would fail a whole OTLP export; isprintable() rejects them.
    return isinstance(name, str) and 0 < len(name) <= _MAX_LENGTH and name.isprintable()


def _one_of(known: frozenset[str], name: Any) -> str | None:
    return name if isinstance(name, str) and name in known else None
