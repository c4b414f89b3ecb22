"""The portal's blueprint with all pages."""

from __future__ import annotations

from flask import Blueprint

from keygauge_keyservice.portal import assets, auth, error_pages, formatting, headers, languages
from keygauge_keyservice.portal.pages import (
    audit,
    billing,
    calls,
    invitation,
    key,
    key_choice,
    keys,
    members,
    notifications,
    operator_prices,
    overview,
    own_settings,
    plan,
    sign_in,
    single_sign_on,
    tokens,
    usage,
)
from keygauge_keyservice.portal.tables import key_table, member_table, status, usage_table


def create_portal() -> Blueprint:
    """Create the blueprint with all pages."""
    portal = Blueprint("portal", __name__, template_folder="templates")
    for page in (
        sign_in,
        single_sign_on,
        invitation,
        overview,
        keys,
        key,
        key_table,
        key_choice,
        usage,
        usage_table,
        calls,
        billing,
        plan,
        audit,
        members,
        member_table,
        tokens,
        notifications,
        status,
        operator_prices,  # registers all operator pages
        own_settings,
        assets,
    ):
        portal.register_blueprint(page.blueprint)
    languages.install(portal)
    auth.install(portal)
    headers.install(portal)
    error_pages.install(portal)
    formatting.install(portal)
    return portal
