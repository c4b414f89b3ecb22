"""The table of keys: search and order from the URL, and all matching keys as CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request, url_for

from keygauge_keyservice.keys import key_search
from keygauge_keyservice.keys.key_search import FILTERS, QUERY_LENGTH_MAX, SORTS, Search, Sort
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.portal import auth
from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json
from keygauge_keyservice.web.export import as_csv

blueprint = Blueprint("key_table", __name__)

PAGE = 50
_PAGES_MAX = 10_000
_HEADS: tuple[tuple[str, Sort], ...] = (
    (mark("Name"), "name"),
    (mark("Status"), "status"),
    (mark("Created"), "created"),
    (mark("Last used"), "used"),
    (mark("Expires"), "expires"),
)
_NAMES = (
    *("id", "name", "app", "environment", "status", "created_at", "created_by", "expires_at", "rotated_at"),
    *(
        "rotate_every_days",
        "last_used_at",
        "last_used_ip",
        "last_used_route",
        "scopes",
        "routes",
        "models",
        "tools",
        "networks",
    ),
)


@dataclass(frozen=True)
class Column:
    """A column heading that sorts the table."""

    name: str
    address: str
    order: str | None  # aria-sort, if sorted by this column


@blueprint.get("/keys.csv")
def export() -> Response:
    """Return the matching keys as CSV."""
    rows = [[" ".join(value) if isinstance(value, list) else value for value in one.values()] for one in _documents()]
    return as_csv("keys", [*_NAMES, "limits"], rows)


@blueprint.get("/keys.json")
def export_json() -> Response:
    """Return the matching keys as JSON."""
    return exact_json({"keys": _documents()})


def read(arguments: Mapping[str, str]) -> tuple[Search, int]:
    """Read a search and a page number from URL parameters; invalid ones count as absent."""
    only, text = arguments.get("only"), arguments.get("sort", "created")
    sort, page = text.removeprefix("-"), arguments.get("page", "1")
    search = Search(
        query=arguments.get("q", "").strip()[:QUERY_LENGTH_MAX],
        only=only if only in FILTERS else None,
        sort=sort if sort in SORTS else "created",
        is_descending=text.startswith("-"),
    )
    return search, min(max(int(page), 1), _PAGES_MAX) if page.isascii() and page.isdigit() and len(page) < 9 else 1  # noqa: PLR2004 - an int


def query(search: Search) -> dict[str, Any]:
    """Return a search as URL parameters."""
    parts = {"q": search.query, "only": search.only or "", "sort": ("-" if search.is_descending else "") + search.sort}
    return {name: value for name, value in parts.items() if value and (name, value) != ("sort", "created")}


def columns(search: Search) -> dict[str, Column]:
    """Return the sortable columns; the one that is sorted by links to the reverse order."""
    made: dict[str, Column] = {}
    for name, sort in _HEADS:
        is_current = sort == search.sort
        wanted = replace(search, sort=sort, is_descending=is_current and not search.is_descending)
        order = ("descending" if search.is_descending else "ascending") if is_current else None
        made[sort] = Column(gettext(name), url_for("portal.keys.show", **query(wanted)), order)
    return made


def _documents() -> list[dict[str, Any]]:
    search, _ = read(request.args)
    with services().connection() as connection:
        found = key_search.find(connection, auth.current_account_id(), search, limit=None)
        limits = definitions.of_keys(connection, [key.id for key in found])
    return [
        {name: value.isoformat() if isinstance(value := getattr(key, name), datetime) else value for name in _NAMES}
        | {"limits": [_line(limit) for limit in limits.get(key.id, [])]}
        for key in found
    ]


def _line(limit: definitions.Limit) -> str:
    """Format a limit as on the command line."""
    window = f":{limit.window_s}s" if limit.window_s else f":{limit.period}" if limit.period else ""
    options = [f",{name}={value}" for name in ("anchor", "zone") if (value := getattr(limit, name))]
    return f"{limit.name}={limit.amount}:{limit.unit}{window}{''.join(options)}"
