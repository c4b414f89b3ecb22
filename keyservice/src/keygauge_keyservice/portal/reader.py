"""The reader's preferences: time zone, number and time formats, and language.

A member's own choice takes precedence over the browser's: its languages, and the zone that a script stores in a cookie.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from zoneinfo import ZoneInfo

from babel import Locale
from flask import g, has_request_context, request

from keygauge_keyservice.accounts import preferences
from keygauge_keyservice.accounts.preferences import Preferences
from keygauge_keyservice.values import time_zone
from keygauge_keyservice.web.context import services

UTC_ZONE = ZoneInfo("UTC")
ENGLISH = "en"
FORMATS = {
    ENGLISH: "31 Jan 2026, 18:00 · 1,234.56",
    "en_US": "Jan 31, 2026, 6:00 PM · 1,234.56",
    "de": "31. Jan. 2026, 18:00 · 1.234,56",
    "fr": "31 janv. 2026, 18:00 · 1 234,56",
    "es": "31 ene 2026, 18:00 · 1.234,56",
    "pt_BR": "31 de jan. de 2026, 18:00 · 1.234,56",
    "ja": "2026/01/31 18:00 · 1,234.56",
    "zh_Hans": "2026年1月31日 18:00 · 1,234.56",
}
_HALF_DAY_H = 12
_ZONE_COOKIE = "keygauge_zone"
_NO_PREFERENCES = Preferences(None, None)


def zone() -> ZoneInfo:
    """Return the reader's time zone, UTC if unknown."""
    if not has_request_context():
        return UTC_ZONE
    if "zone" not in g:
        g.zone = time_zone.find(_preferences().zone) or time_zone.find(request.cookies.get(_ZONE_COOKIE)) or UTC_ZONE
    found: ZoneInfo = g.zone
    return found


def locale() -> Locale:
    """Return the locale for numbers and times; English if the browser accepts none of ours."""
    if not has_request_context():
        return parse_locale(ENGLISH)
    if "locale" not in g:
        g.locale = parse_locale(_preferences().locale or _of_language() or _of_browser(FORMATS))
    found: Locale = g.locale
    return found


def language(known: Collection[str]) -> str:
    """Return the language for texts; English if neither the member nor the browser chose a known one."""
    chosen = _preferences().language or ""
    if chosen in known:
        return chosen
    return _of_browser(known)


def is_english() -> bool:
    """Return whether numbers and times use the plain English format, which needs no locale data."""
    return str(locale()) == ENGLISH


def is_12h() -> bool:
    """Return whether the reader uses a 12-hour clock: by choice, else by the locale."""
    hours = _preferences().hours if has_request_context() else None
    if hours is not None:
        return hours == _HALF_DAY_H
    return not is_english() and "h" in locale().time_formats["short"].pattern


@cache
def parse_locale(name: str) -> Locale:
    """Return a locale by its name."""
    return Locale.parse(name)


def _preferences() -> Preferences:
    session = g.get("session")
    if session is None:
        return _NO_PREFERENCES
    if "preferences" not in g:
        with services().connection() as connection:
            g.preferences = preferences.find(connection, session.member.id)
    found: Preferences = g.preferences
    return found


def _of_language() -> str | None:
    """Return the locale of the chosen language if no format was chosen."""
    chosen = _preferences().language
    return chosen if chosen in FORMATS else None


def _of_browser(known: Collection[str]) -> str:
    """Return the browser's first known language or, for a regional one, its base language."""
    wanted = [name.replace("-", "_") for name, _ in request.accept_languages]
    for name in wanted:
        for one in (name, name.partition("_")[0]):
            if one in known:
                return one
    return ENGLISH
