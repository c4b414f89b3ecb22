"""The stats page: what the account does a minute, its quota, and which models it calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, render_template, request

from keygauge_keyservice import quota, usage
from keygauge_keyservice.portal import figures, guard, overview, span, timeline
from keygauge_keyservice.portal.usage import links_to_calls
from keygauge_keyservice.services import services
from keygauge_keyservice.usage import Part, Selection

blueprint = Blueprint("stats", __name__)

_MODELS_MAX = 5  # with a colour of their own
_LEADERS_MAX = 20


@dataclass(frozen=True)
class Slice:
    """A model's part of the donut, in percent of the whole circle."""

    name: str
    tone: str
    percent: float
    offset: float  # where it begins


@blueprint.get("/stats")
def show() -> str:
    """Show the range that the address names."""
    now = datetime.now(UTC)
    shown, account_id = span.read(request.args, now=now), guard.current_account_id()
    selection = Selection(account_id=account_id, start=shown.start, end=shown.end)
    with services().connection() as connection:
        totals = usage.totals(connection, **selection)
        quotas = [one for one in quota.find_quotas(connection, account_id, now=now) if one.key_id is None]
        points = usage.series(connection, bucket=shown.bucket, **selection) if totals.requests else []
        models = usage.breakdown(connection, by="model", **selection)
        trends = usage.series(connection, bucket=shown.bucket, group_by="model", **selection) if models else []
        before = Selection(account_id=account_id, start=shown.start - (shown.end - shown.start), end=shown.start)
        earlier = {part.group: part.requests for part in usage.breakdown(connection, by="model", **before)}
    links = links_to_calls(points, shown, {})
    tones = [(part.group, f"tone-{rank}") for rank, part in enumerate(models[:_MODELS_MAX], 1)]
    return render_template(
        "portal/stats.html",
        span=shown,
        presets=span.PRESETS,
        totals=totals,
        gauges=[overview.gauge(one) for one in quotas],
        credit_nanousd=next((one.credit_nanousd for one in quotas if one.credit_nanousd), None),
        credits_of=figures.credits_of,
        requests_chart=timeline.draw_requests(points, shown.bucket, links=links),
        tokens_chart=timeline.draw_tokens(points, shown.bucket, links=links, is_area=True),
        trends_chart=timeline.draw_groups("trends", trends, shown.bucket, tones, links=links),
        slices=slices(models, totals.requests),
        leaders=models[:_LEADERS_MAX],
        earlier=earlier,
        query=shown.query,
    )


def slices(models: Sequence[Part], requests: int) -> list[Slice]:
    """Cut the donut: the models with most calls, and the rest as "Other"."""
    counts = [(part.group or "No model", f"tone-{rank}", part.requests) for rank, part in enumerate(models, 1)]
    others = counts[_MODELS_MAX:]
    name_of_rest = others[0][0] if len(others) == 1 else "Other"
    rest = (name_of_rest, "tone-other", sum(count for _, _, count in others))
    cut, offset = [], 0.0
    for name, tone, count in [*counts[:_MODELS_MAX], rest]:
        percent = 100 * count / requests if requests else 0.0
        if percent:
            cut.append(Slice(name, tone, percent, offset))
        offset += percent
    return cut
