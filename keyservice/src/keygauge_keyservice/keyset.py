"""Keyset pagination: each page of a sorted list continues after the last row of the previous page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from psycopg import sql


def clauses(
    table: str,
    sorts: Mapping[str, str],
    sort: str,
    *,
    own: str = "true",
    cursor: Literal["text", "bigint"] = "text",
) -> tuple[sql.Composed, sql.Composed]:
    """Return a condition on `%(after)s` (a row's id, or NULL) and the order; a sort that starts with - is descending.

    `cursor` is the type of ids. `own` is the condition on rows that the caller may see; a page after any other row is
    empty.
    """
    name = sort.removeprefix("-")
    expression, is_descending = sql.SQL(sorts[name]), name != sort
    after = sql.SQL(
        "(%(after)s::{cursor} IS NULL OR ({expression}, id) {beyond} "
        "(SELECT {expression}, id FROM {table} WHERE id = %(after)s::{cursor} AND {own}))"
    ).format(
        expression=expression,
        beyond=sql.SQL("<" if is_descending else ">"),
        table=sql.Identifier(table),
        own=sql.SQL(own),
        cursor=sql.SQL(cursor),
    )
    direction = sql.SQL("DESC" if is_descending else "ASC")
    order = sql.SQL("{expression} {direction}, id {direction}").format(expression=expression, direction=direction)
    return after, order


def names(sorts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sort options, ascending and descending."""
    return (*sorts, *(f"-{name}" for name in sorts))
