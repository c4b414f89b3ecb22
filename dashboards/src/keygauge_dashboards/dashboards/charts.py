"""Charts of requests, errors and durations that more than one dashboard shows."""

from __future__ import annotations

from keygauge.metrics import COST, DURATION, MODEL, REQUESTS, ROUTE, STATUS, TOKEN_TYPE, TOKENS, label
from keygauge_dashboards.grafana.base import PER_SECOND
from keygauge_dashboards.grafana.panel_types import bars, coloured, limits, lines
from keygauge_dashboards.grafana.panels import Prometheus, View
from keygauge_dashboards.promql.queries import RATE, gained, is_, like, or_zero, quantile, rate, ratio
from keygauge_dashboards.thresholds import Thresholds

SERVER_ERROR = like(STATUS, "5..")
LIMITED = is_(STATUS, "429")

_CLASSES = {
    "ok": like(STATUS, "[123].."),
    "client error": like(STATUS, "4.[0-8]|4[013-9]9"),
    "rate-limited": LIMITED,
    "server error": SERVER_ERROR,
}
_COLOURS = {"ok": "green", "client_error": "yellow", "rate-limited": "orange", "server_error": "red"}


def answers() -> View:
    """Show requests by kind of answer."""
    return bars(
        "How is the traffic answered?",
        "Requests a second by kind of answer.",
        [Prometheus(or_zero(rate(REQUESTS, match)), legend) for legend, match in _CLASSES.items()],
        unit=PER_SECOND,
        calcs=("mean", "max"),
        overrides=coloured(**_COLOURS),
    )


def failures(thresholds: Thresholds) -> View:
    """Show the share of errors by endpoint."""
    share = ratio(*(gained(REQUESTS, *where, by=(ROUTE,), window=RATE) for where in ((SERVER_ERROR,), ())))
    return lines(
        "Which endpoints fail?",
        "Share of each endpoint's requests answered with 5xx; dashed: the warning and the critical share.",
        [Prometheus(share, legend(ROUTE))],
        unit="percentunit",
        colours=limits(thresholds.error_share_warning, thresholds.error_share_critical),
        alerts=("ErrorBudgetBurn",),
    )


def durations() -> View:
    """Show quantiles of durations."""
    return lines(
        "How long do requests take?",
        "Quantiles of the time from arrival to the last byte, over all keys: durations know no key.",
        [Prometheus(quantile(share / 100, DURATION), f"p{share}") for share in (50, 95, 99)],
        unit=DURATION.unit,
        alerts=("LatencyBurn",),
    )


def tokens_a_second() -> View:
    """Show tokens by type."""
    return lines(
        "How many tokens a second?",
        "Tokens used a second, by type.",
        [Prometheus(rate(TOKENS, by=(TOKEN_TYPE,)), legend(TOKEN_TYPE))],
        unit="short",
    )


def tokens_by_model() -> View:
    """Show tokens by model."""
    return bars(
        "Which models use the tokens?",
        "Input and output tokens used a second, by model.",
        [Prometheus(rate(TOKENS, by=(MODEL,)), legend(MODEL))],
        unit="short",
        calcs=("mean", "max"),
    )


def spending() -> View:
    """Show the speed at which money is spent, by model."""
    return bars(
        "How fast is money spent?",
        "US dollars an hour by model, as the services count it; the ledger has the last word.",
        [Prometheus(f"3600 * {rate(COST, by=(MODEL,))}", legend(MODEL))],
        unit="currencyUSD",
        calcs=("mean", "max"),
    )


def legend(attribute: str) -> str:
    """Name lines by a label."""
    return f"{{{{{label(attribute)}}}}}"
