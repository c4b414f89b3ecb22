"""Read a plan's limits from a request body or a command line, and refuse those that make no sense."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

from keygauge.estimate import TOKENS_MAX
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.plan_limits import Limit, Period, Subject, Unit, WhenDown

LIMITS_MAX = 20  # per plan: each is reserved on every request
WINDOW_S_MAX = 86_400
SCOPE_LENGTH_MAX = 200


def read_limits(fields: Fields) -> list[Limit]:
    """Read the list `limits`; errors are left in `fields`."""
    limits = fields.each("limits", _read_limit, most=LIMITS_MAX)
    for name, count in Counter(limit.name for limit in limits).items():
        if count > 1 and name is not None:
            fields.fail("limits", "same_name", f"{count} limits are named {name!r}: names differ")
    return limits


def parse_limit(text: str) -> Limit:
    """Read `NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]]`, where a window is `60s`, `day` or `month`.

    Raises:
        Problem: 422, with what is wrong.
    """
    name, _, terms = text.partition("=")
    amount, unit, window, subject, *_ = [*terms.split(":"), "", "", "", ""]
    document: dict[str, object] = {"name": name, "amount": _number(amount), "unit": unit}
    if window.endswith("s"):
        document["window_s"] = _number(window[:-1])
    elif window:
        document["period"] = window
    if subject:
        document["subject"] = subject
    fields = Fields(document)
    limit = _read_limit(fields)
    fields.check()
    return limit


def _read_limit(fields: Fields) -> Limit:
    return _check(fields, _read_terms(fields))


def read_key_limits(fields: Fields) -> list[Limit]:
    """Read the list `limits` of a single key; errors are left in `fields`."""
    return [replace(limit, subject="key") for limit in read_limits(fields)]


def _read_terms(fields: Fields) -> Limit:
    return Limit(
        name=fields.slug("name"),
        unit=fields.choice("unit", get_args(Unit)),
        amount=fields.integer("amount", least=0),
        window_s=fields.integer("window_s", least=1, most=WINDOW_S_MAX, nullable=True),
        period=fields.choice("period", get_args(Period), nullable=True),
        subject=fields.choice("subject", get_args(Subject), default="account"),
        when_down=fields.choice("when_down", get_args(WhenDown), default="closed"),
        dry_run=fields.flag("dry_run", default=False),
        route=fields.text("route", length_max=SCOPE_LENGTH_MAX),
        model=fields.text("model", length_max=SCOPE_LENGTH_MAX),
        output_default=fields.integer("output_default", least=1, most=TOKENS_MAX, nullable=True),
    )


def _check(fields: Fields, limit: Limit) -> Limit:
    if limit.output_default is not None and limit.unit != "token":
        fields.fail("output_default", "wrong_unit", "goes with limits of tokens")
    if limit.unit in ("concurrent", "nanousd"):  # no set: what was read may be a list
        fields.fail("unit", "not_enforced", f"limits in {limit.unit} are not enforced yet")
    given = (limit.window_s is not None) + (limit.period is not None)
    if limit.unit == "concurrent" and given:
        fields.fail("unit", "wrong_window", "a limit of concurrent requests has neither window_s nor period")
    if limit.unit != "concurrent" and given != 1:
        fields.fail("window_s", "wrong_window", "give window_s or period, and not both")
    return limit


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
