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
    own_settings,
    sign_in,
    single_sign_on,
    standing,
    usage,
    usage_table,
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
        usage_table,
        calls,
        billing,
        audit,
        members,
        member_table,
        standing,
        operator_prices,  # … and all of the operator's pages
        own_settings,
        assets,
    ):
        portal.register_blueprint(page.blueprint)
    guard.install(portal)
    headers.install(portal)
    faults.install(portal)
    figures.install(portal)
    return portal
