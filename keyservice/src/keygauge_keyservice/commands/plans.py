"""`keygauge plans`: list, create, and set limits."""

from __future__ import annotations

import argparse
from decimal import Decimal

from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import plans
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.limit_fields import parse_limit
from keygauge_keyservice.plan_limits import Limit

_LIMIT_HELP = (
    "repeatable, e.g. rpm=600:request:60s, monthly=20000:request:month, per_key=5:request:1s:key, "
    "budget=25.50:usd:month or credits=500:credit@0.01:month"
)


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("plans", help="list and create plans, set their limits")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="list all plans with their limits").set_defaults(run=_list)
    create = verbs.add_parser("create", help="make a plan")
    create.add_argument("plan", help="its id, e.g. pro")
    create.add_argument("--name", help="how people see it (default: the id)")
    create.set_defaults(run=_create)
    set_limits = verbs.add_parser("set-limits", help="replace a plan's limits, at once for all of its accounts")
    set_limits.add_argument("plan")
    set_limits.set_defaults(run=_set_limits)
    for verb in (create, set_limits):
        verb.add_argument(
            "--limit",
            action="append",
            default=[],
            metavar="NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION...]",
            help=_LIMIT_HELP,
        )


def _list(_: argparse.Namespace) -> int:
    with connected() as connection:
        _show(plans.list_plans(connection))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    limits, name = _limits(arguments.limit), checked_name(arguments.name or arguments.plan)
    with told_plainly():
        fields = Fields({"plan": arguments.plan})
        fields.slug("plan")
        fields.check()
    with connected() as connection:
        _show([plans.create(connection, plan_id=arguments.plan, name=name, limits=limits, actor=ACTOR)])
    return 0


def _set_limits(arguments: argparse.Namespace) -> int:
    limits = _limits(arguments.limit)
    with connected() as connection:
        _show([plans.replace_limits(connection, arguments.plan, limits, actor=ACTOR)])
    return 0


def _limits(texts: list[str]) -> list[Limit]:
    limits: dict[str, Limit] = {}
    with told_plainly():
        for limit in map(parse_limit, texts):
            if limit.name in limits:
                raise CommandError(f"limit {limit.name!r} is given twice: give each a name of its own")
            limits[limit.name] = limit
    return list(limits.values())


def _show(found: list[plans.Plan]) -> None:
    table = Table("plan", "name", "limit", "amount", "of", "by")
    for plan in found:
        for limit in plan.limits or (None,):
            terms = (limit.name, _amount(limit), _unit(limit), limit.subject) if limit else ("-",)
            table.add_row(plan.id, plan.name, *terms)
    output().print(table)


def _amount(limit: Limit) -> str:
    if limit.credit_nanousd:
        return f"{limit.amount // limit.credit_nanousd:,}"
    return _dollars(limit.amount) if limit.unit == "nanousd" else f"{limit.amount:,}"


def _dollars(nanousd: int) -> str:
    """Write US dollars with the digits they have."""
    return f"{Decimal(nanousd).scaleb(-9).normalize():,f}"


def _unit(limit: Limit) -> str:
    unit: str = limit.unit
    if unit == "nanousd":
        unit = f"credit of {_dollars(limit.credit_nanousd)} USD" if limit.credit_nanousd else "USD"
    if limit.window_s is not None:
        return f"{unit} / {limit.window_s} s"
    return f"{unit} / {limit.period}" if limit.period else unit
