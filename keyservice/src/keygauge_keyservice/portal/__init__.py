"""The portal: HTML pages on which a customer sees and manages keys and usage."""

from __future__ import annotations

from flask import Blueprint

from keygauge_keyservice.portal import (
    assets,
    audit,
    billing,
    calls,
    faults,
    figures,
    guard,
    headers,
    invitation,
    key,
    key_table,
    keys,
    member_table,
    members,
    operator_prices,
    overview,
    sign_in,
    single_sign_on,
    standing,
    stats,
    usage,
)


def create_portal() -> Blueprint:
    """Make the blueprint of all pages."""
    portal = Blueprint("portal", __name__, template_folder="templates")
    for page in (
        sign_in,
        single_sign_on,
        invitation,
        overview,
        keys,
        key,
        key_table,
        usage,
        stats,
        calls,
        billing,
        audit,
        members,
        member_table,
        standing,
        operator_prices,  # … and all of the operator's pages
        assets,
    ):
        portal.register_blueprint(page.blueprint)
    portal.register_blueprint(members.password)
    guard.install(portal)
    headers.install(portal)
    faults.install(portal)
    figures.install(portal)
    return portal
