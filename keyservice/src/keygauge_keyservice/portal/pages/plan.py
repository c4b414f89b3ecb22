"""Choosing another plan, for owners, where the operator offers some."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import accounts, plan_choice
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, limit_text
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.web.context import services

blueprint = Blueprint("plan", __name__, url_prefix="/billing/plan")


@blueprint.get("/<plan_id>")
def confirm(plan_id: str) -> str:
    """Show an offered plan, and ask for confirmation before changing to it."""
    auth.require_manager()
    with services().connection() as connection:
        account = accounts.require(connection, auth.current_account_id())
        offered = {plan.id: plan for plan in plan_choice.offered(connection, account)}
    if plan_id not in offered:
        raise Problem(404, "plan_not_found", gettext("This plan is not available."))
    return render_template("portal/plan.html", plan=offered[plan_id], describe=limit_text.describe)


@blueprint.post("/<plan_id>")
def choose(plan_id: str) -> Response:
    """Change the plan."""
    member = auth.require_manager()
    with services().connection() as connection:
        plan_choice.choose(connection, auth.current_account_id(), plan_id, actor=member.email)
    return redirect(url_for("portal.billing.show", notice="plan"), 303)
