"""The portal: HTML pages on which a customer sees and manages keys and usage."""

from __future__ import annotations

from flask import Blueprint

from keygauge_keyservice.portal import assets, calls, faults, figures, guard, headers, keys, overview, sign_in, usage


def create_portal() -> Blueprint:
    """Make the blueprint of all pages."""
    portal = Blueprint("portal", __name__, template_folder="templates")
    for page in (sign_in, overview, keys, usage, calls, assets):
        portal.register_blueprint(page.blueprint)
    guard.install(portal)
    headers.install(portal)
    faults.install(portal)
    figures.install(portal)
    return portal
