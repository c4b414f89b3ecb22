"""The operator's table of accounts: search, filters, order and page from the URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import directory
from keygauge_keyservice.keys.directory import ACCOUNT_SORTS, AccountSort

PAGE = 50
_PAGES_MAX = 10_000
_QUERY_LENGTH_MAX = 200
_DIGITS_MAX = 8


@dataclass(frozen=True)
class AccountTable:
    """The table to show; invalid URL parameters count as absent."""

    query: str = ""
    plan: str | None = None
    status: str | None = None
    sort: AccountSort = "name"
    is_descending: bool = False
    page: int = 1

    @property
    def address(self) -> dict[str, Any]:
        """Return the table as URL parameters, without the page."""
        sort = ("-" if self.is_descending else "") + self.sort
        parts = {"q": self.query, "plan": self.plan, "status": self.status, "sort": sort if sort != "name" else None}
        return {name: value for name, value in parts.items() if value}

    @property
    def selection(self) -> dict[str, Any]:
        """Return the table as search arguments."""
        return {
            "plan": self.plan,
            "status": self.status,
            "sort": self.sort,
            "is_descending": self.is_descending,
        }


def read(arguments: Mapping[str, str]) -> AccountTable:
    """Read a table from URL parameters."""
    text, page = arguments.get("sort", "name"), arguments.get("page", "1")
    sort, status, plan = text.removeprefix("-"), arguments.get("status"), arguments.get("plan", "")
    is_number = page.isascii() and page.isdigit() and len(page) <= _DIGITS_MAX
    return AccountTable(
        query=query_text(arguments.get("q", "")),
        plan=plan if plan and "\0" not in plan else None,
        status=status if status in get_args(accounts.Status) else None,
        sort=sort if sort in ACCOUNT_SORTS else "name",
        is_descending=text.startswith("-"),
        page=min(max(int(page), 1), _PAGES_MAX) if is_number else 1,
    )


def query_text(text: str) -> str:
    """Return the search text; API keys are reduced to their non-secret part."""
    text = text.strip().replace("\0", "")[:_QUERY_LENGTH_MAX]
    key_id = directory.key_id_of(text)
    return f"kg_{text.split('_')[1]}_{key_id}" if key_id else text
