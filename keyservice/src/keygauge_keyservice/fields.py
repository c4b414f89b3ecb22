"""Read the fields of a JSON object, collecting every error before anything is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from keygauge_keyservice.errors import FieldError, invalid

_T = TypeVar("_T")

INTEGER_MAX = 2**53 - 1  # the largest that every JSON reader keeps exact
NAME_LENGTH_MAX = 100
YEAR_MIN = 1970  # no call is older; far from year 1, where neither Python nor the database can change zones
_is_slug = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII).fullmatch


class Fields:
    """The fields of one JSON object; call `check` after the last one."""

    def __init__(self, document: Any, path: str = "") -> None:
        self._document: dict[str, Any] = document if isinstance(document, dict) else {}
        self._path = path
        self._read: set[str] = set()
        self.errors: list[FieldError] = []
        if not isinstance(document, dict):
            self.errors.append(FieldError(path or "body", "wrong_type", "must be a JSON object"))

    def __contains__(self, name: str) -> bool:
        return name in self._document

    def name(self, field: str, *, default: str | None = None) -> str:
        """Read a name that people see: 1 to 100 printable characters."""
        value = self._take(field, default)
        if value is not None and not _is_name(value):
            self._fail(field, "wrong_name", f"must have 1 to {NAME_LENGTH_MAX} printable characters")
        return cast("str", value)

    def text(self, field: str, *, length_max: int) -> str | None:
        """Read a printable text that may be absent."""
        value = self._take(field, None, nullable=True)
        if value is not None and not (isinstance(value, str) and value.isprintable() and len(value) <= length_max):
            self._fail(field, "wrong_text", f"must have at most {length_max} printable characters")
        return cast("str | None", value)

    def slug(self, field: str, *, default: str | None = None) -> str:
        """Read an id that people choose."""
        value = self._take(field, default)
        if value is not None and not (isinstance(value, str) and _is_slug(value)):
            self._fail(field, "wrong_slug", "must be 1 to 40 of a-z, 0-9, _ and -, and start with a letter or digit")
        return cast("str", value)

    def choice(
        self, field: str, choices: Collection[str], *, default: str | None = None, nullable: bool = False
    ) -> Any:
        """Read one of some words."""
        value = self._take(field, default, nullable=nullable)
        if value is not None and not (isinstance(value, str) and value in choices):
            self._fail(field, "wrong_choice", f"must be one of {', '.join(choices)}")
        return value

    def choices(self, field: str, choices: Collection[str]) -> tuple[str, ...]:
        """Read some of some words, with commas between them; none where it is absent or empty."""
        value = self._take(field, "")
        words = tuple(value.split(",")) if isinstance(value, str) and value else ()
        if not isinstance(value, str) or not set(words) <= set(choices) or len(set(words)) < len(words):
            self._fail(
                field, "wrong_choice", f"must be a comma-separated list of {', '.join(choices)}, each at most once"
            )
        return words

    def lists(self, field: str, choices: Collection[str], *, most: int) -> list[tuple[str, ...]]:
        """Read a list of lists of some words, each list of at least one."""
        value = self._take(field, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            self._fail(field, "wrong_list", f"must be a list of at most {most} lists")
            return []
        for index, words in enumerate(value):
            if (
                not isinstance(words, list)
                or not words
                or not all(isinstance(word, str) and word in choices for word in words)
                or len(set(words)) < len(words)
            ):
                detail = f"must be a list of {', '.join(choices)}, each at most once"
                self._fail(f"{field}[{index}]", "wrong_choice", detail)
        return [tuple(words) if isinstance(words, list) else () for words in value]

    def integer(self, field: str, *, least: int, most: int = INTEGER_MAX, nullable: bool = False) -> Any:
        """Read a whole number."""
        value = self._take(field, None, nullable=nullable)
        if value is not None and not (type(value) is int and least <= value <= most):
            self._fail(field, "wrong_number", f"must be an integer from {least} to {most}")
        return value

    def flag(self, field: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._take(field, default)
        if not isinstance(value, bool):
            self._fail(field, "wrong_type", "must be true or false")
        return cast("bool", value)

    def time(self, field: str) -> datetime | None:
        """Read a moment as RFC 3339 with an offset, or null; return it in UTC."""
        value = self._take(field, None, nullable=True)
        if value is None:
            return None
        moment = _moment(value)
        if moment is None:
            self._fail(field, "wrong_time", f"must be null or a time from {YEAR_MIN} on, such as 2030-01-31T12:00:00Z")
        return moment

    def texts(self, field: str, take: Callable[[str], str], *, most: int, hint: str) -> list[str]:
        """Read a list of texts, each through `take`, which raises ValueError; doubles are dropped."""
        value = self._take(field, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            self._fail(field, "wrong_list", f"must be a list of at most {most} items, each {hint}")
            return []
        taken: dict[str, None] = {}
        for index, text in enumerate(value):
            try:
                taken[take(text if isinstance(text, str) else "")] = None
            except ValueError:
                self._fail(f"{field}[{index}]", "wrong_text", f"must be {hint}")
        return list(taken)

    def each(self, field: str, read: Callable[[Fields], _T], *, most: int) -> list[_T]:
        """Read a list of objects."""
        value = self._take(field, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            self._fail(field, "wrong_list", f"must be a list of at most {most} objects")
            return []
        items = [Fields(item, f"{self._path}{field}[{index}].") for index, item in enumerate(value)]
        results = [read(item) for item in items]
        for item in items:
            item.finish()
            self.errors += item.errors
        return results

    def fail(self, field: str, code: str, detail: str) -> None:
        """Add an error that only the caller can see."""
        self._fail(field, code, detail)

    def finish(self) -> None:
        """Add an error for each field that nobody read."""
        for field in self._document.keys() - self._read:
            self._fail(str(field)[:NAME_LENGTH_MAX], "unknown_field", "unknown field")

    def check(self) -> None:
        """Refuse the request when anything in it is wrong.

        Raises:
            Problem: 422 with every error.
        """
        self.finish()
        if self.errors:
            raise invalid(*sorted(self.errors, key=lambda error: error.field))

    def _take(self, field: str, default: Any, *, nullable: bool = False) -> Any:
        self._read.add(field)
        value = self._document.get(field)
        if value is None and not nullable:
            if default is None or field in self._document:
                self._fail(field, "missing", "is required")
            return default
        return value if value is not None else default

    def _fail(self, field: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(f"{self._path}{field}", code, detail))


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        in_utc = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return in_utc if moment.tzinfo is not None and in_utc.year >= YEAR_MIN else None


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str) and value.isprintable() and value == value.strip() and 1 <= len(value) <= NAME_LENGTH_MAX
    )
