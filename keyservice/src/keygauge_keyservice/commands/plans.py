"""`keygauge plans`: list, create, and set limits."""

from __future__ import annotations

import argparse

from msgspec import Struct
from rich.markup import escape
from rich.table import Table

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.commands import limits
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, checked_name, connected, told_plainly
from keygauge_keyservice.field_types import Slug
from keygauge_keyservice.reading import read


class _PlanId(Struct):
    plan: Slug


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
    set_providers = verbs.add_parser("set-providers", help="say whose answers routes give, where models do not tell")
    set_providers.add_argument("plan")
    set_providers.add_argument("rule", nargs="*", help="PATH=PROVIDER, e.g. '/v1/chat/*=deepseek'; none: forget all")
    set_providers.set_defaults(run=_set_providers)
    for verb in (create, set_limits):
        limits.add_option(verb)


def _list(_: argparse.Namespace) -> int:
    with connected() as connection:
        _show(plans.list_plans(connection))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    given, name = limits.parse(arguments.limit), checked_name(arguments.name or arguments.plan)
    with told_plainly():
        read(_PlanId, {"plan": arguments.plan})
    with connected() as connection:
        _show([plans.create(connection, plan_id=arguments.plan, name=name, limits=given, actor=ACTOR)])
    return 0


def _set_limits(arguments: argparse.Namespace) -> int:
    given = limits.parse(arguments.limit)
    with connected() as connection:
        _show([plans.replace_limits(connection, arguments.plan, given, actor=ACTOR)])
    return 0


def _set_providers(arguments: argparse.Namespace) -> int:
    try:
        rules = [plans.checked_rule(rule) for rule in arguments.rule]
    except ValueError as error:
        raise CommandError(str(error)) from error
    if len(rules) > plans.PROVIDERS_MAX:
        raise CommandError(f"{len(rules)} rules are too many: give {plans.PROVIDERS_MAX} at most")
    with connected() as connection:
        _show([plans.set_providers(connection, arguments.plan, rules, actor=ACTOR)])
    return 0


def _show(found: list[plans.Plan]) -> None:
    table = Table("plan", "name", *limits.COLUMNS, "providers")
    for plan in found:
        for number, limit in enumerate(plan.limits or (None,)):
            rules = escape("\n".join(plan.providers)) if number == 0 else ""
            table.add_row(plan.id, plan.name, *limits.cells(limit), rules)
    output().print(table)
