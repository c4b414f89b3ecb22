"""Reading of JSON, objects and queries into typed structs, with all errors reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from threading import Lock
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import UNSET, Struct, inspect
from msgspec.json import Decoder

from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.texts import gettext

INTEGER_MAX = 2**53 - 1  # the largest integer that every JSON parser keeps exact
YEAR_MIN = 1970  # no call is older; near year 1 neither Python nor PostgreSQL can convert time zones
_SHOWN_MAX = 100  # characters of an unknown field's name
_DIGITS_MAX = 20

_S = TypeVar("_S", bound=Struct)
_T = TypeVar("_T")
_making = Lock()  # msgspec 0.22 crashes if two threads use a type for the first time at once
_decoders: dict[object, Decoder[Any]] = {}


@runtime_checkable
class Checked(Protocol):
    """A type with checks across fields."""

    def faults(self) -> Iterable[FieldError]:
        """Return the fields that fail."""


def read(kind: type[_S], document: object) -> _S:
    """Read a JSON object as a `kind`.

    Raises:
        Problem: 422 with every error.
    """
    return _whole(*attempt(kind, document))


def read_query(kind: type[_S], query: Mapping[str, str]) -> _S:
    """Read a query string as a `kind`; integers are written in digits.

    Raises:
        Problem: 422 with every error.
    """
    return _whole(*_QueryReader().attempt(kind, dict(query)))


def decoder(kind: type[_T]) -> Decoder[_T]:
    """Return the JSON decoder for a `kind`."""
    made = _decoders.get(kind)
    if made is None:
        with _making:
            made = _decoders[kind] = Decoder(kind)
    return made


def convert(content: Any, kind: type[_T]) -> _T:
    """Convert an object's attributes or items to a `kind`.

    Raises:
        msgspec.ValidationError: they do not match.
    """
    decoder(kind)  # makes msgspec learn the type under the lock
    return msgspec.convert(content, kind, from_attributes=True)  # noqa: TID251 - the only place


def attempt(kind: type[_S], document: object) -> tuple[_S | None, list[FieldError]]:
    """Read a JSON object as a `kind`; return it, or None and the errors."""
    return _Reader().attempt(kind, document)


def given(message: Struct) -> dict[str, Any]:
    """Return the optional fields of a message that were given, that is, not UNSET."""
    return {name: value for name in message.__struct_fields__ if (value := getattr(message, name)) is not UNSET}


def _whole(message: _S | None, errors: list[FieldError]) -> _S:
    if message is None:
        raise invalid(*errors)
    return message


class _Reader:
    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def attempt(self, kind: type[_S], document: object) -> tuple[_S | None, list[FieldError]]:
        """Return the object as a `kind`, or None, and the errors sorted by field."""
        message = self._object(kind, document, "")
        errors = sorted(self.errors, key=lambda error: error.field)
        return (None if errors else message), errors

    def _object(self, kind: type[_S], document: object, path: str) -> _S | None:
        if not isinstance(document, dict):
            self._fail(path.rstrip(".") or "body", "wrong_type", gettext("must be a JSON object"))
            return None
        before, values = len(self.errors), {}
        fields = _fields(kind)
        for name in document.keys() - fields.keys():
            self._fail(f"{path}{str(name)[:_SHOWN_MAX]}", "unknown_field", gettext("unknown field"))
        for name, field in fields.items():
            if name in document:
                values[field.name] = self._value(field.type, document[name], f"{path}{name}")
            elif field.required:
                self._fail(f"{path}{name}", "missing", gettext("is required"))
        if len(self.errors) > before:
            return None
        message = kind(**values)
        if isinstance(message, Checked):
            self.errors += [FieldError(f"{path}{one.field}", one.code, one.detail) for one in message.faults()]
        return message

    def _value(self, kind: inspect.Type, value: object, path: str) -> Any:
        kind, extra = _plain(kind)
        if isinstance(kind, inspect.UnionType):  # only with null; otherwise a JSON field has one type
            if value is None:
                return None
            kind, extra = _plain(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
        if value is None:
            self._fail(path, "missing", gettext("is required"))
            return None
        if isinstance(kind, inspect.StructType):
            return self._object(kind.cls, value, f"{path}.")
        if isinstance(kind, inspect.ListType):
            return self._list(kind, value, path)
        try:
            return self._scalar(kind, value, extra)
        except ValueError:
            self._fail_type(path, kind, extra)
            return None

    def _list(self, kind: inspect.ListType, value: object, path: str) -> list[Any] | None:
        least, most = kind.min_length or 0, kind.max_length
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            detail = (
                gettext("must be a list of %(least)s to %(most)s items", least=least, most=most)
                if least
                else gettext("must be a list of at most %(most)s items", most=most)
            )
            self._fail(path, "wrong_list", detail)
            return None
        items = [self._value(kind.item_type, item, f"{path}[{index}]") for index, item in enumerate(value)]
        is_of_objects = isinstance(_plain(kind.item_type)[0], inspect.StructType)
        return items if is_of_objects else list(dict.fromkeys(items))

    def _scalar(self, kind: inspect.Type, value: object, extra: Mapping[str, Any]) -> object:
        """Return a converted value.

        Raises:
            ValueError: it does not match the type.
        """
        if isinstance(kind, inspect.DateTimeType):
            return _to_datetime(value)
        if isinstance(kind, inspect.DateType):
            return _day(value)
        if not _is_a(kind, value):
            raise ValueError
        take: Callable[[Any], object] | None = extra.get("take")
        return take(value) if take else value

    def _fail_type(self, path: str, kind: inspect.Type, extra: Mapping[str, Any]) -> None:
        """Record that a value does not match its type."""
        if "hint" in extra:
            self._fail(path, extra["code"], gettext(extra["hint"], **extra["values"]))
        elif isinstance(kind, inspect.StrType):
            self._fail(
                path, "wrong_text", gettext("must have at most %(most)s printable characters", most=kind.max_length)
            )
        elif isinstance(kind, inspect.IntType):
            least, most = _bounds(kind)
            self._fail(
                path, "wrong_number", gettext("must be an integer from %(least)s to %(most)s", least=least, most=most)
            )
        elif isinstance(kind, inspect.LiteralType):
            self._fail(
                path, "wrong_choice", gettext("must be one of %(choices)s", choices=", ".join(map(str, kind.values)))
            )
        elif isinstance(kind, inspect.DateTimeType):
            self._fail(
                path,
                "wrong_time",
                gettext("must be a time from %(year)s on, such as 2030-01-31T12:00:00Z", year=YEAR_MIN),
            )
        elif isinstance(kind, inspect.DateType):
            self._fail(
                path, "wrong_time", gettext("must be a date from %(year)s on, such as 2030-01-31", year=YEAR_MIN)
            )
        else:
            self._fail(path, "wrong_type", gettext("must be true or false"))

    def _fail(self, path: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(path, code, detail))


class _QueryReader(_Reader):
    def _scalar(self, kind: inspect.Type, value: object, extra: Mapping[str, Any]) -> object:
        if isinstance(kind, inspect.IntType):
            value = _integer(value)
        return super()._scalar(kind, value, extra)


@cache
def _fields(kind: type[Struct]) -> dict[str, inspect.Field]:
    described: Any = inspect.type_info(kind)
    return {field.encode_name: field for field in described.fields}


def _plain(kind: inspect.Type) -> tuple[inspect.Type, Mapping[str, Any]]:
    """Return a type without its metadata, and our part of the metadata."""
    if isinstance(kind, inspect.Metadata):
        return kind.type, kind.extra or {}
    return kind, {}


def _is_a(kind: inspect.Type, value: object) -> bool:
    if isinstance(kind, inspect.StrType):
        return isinstance(value, str) and value.isprintable() and len(value) <= (kind.max_length or len(value))
    if isinstance(kind, inspect.IntType):
        least, most = _bounds(kind)
        return type(value) is int and least <= value <= most
    if isinstance(kind, inspect.LiteralType):
        return isinstance(value, str) and value in kind.values
    return isinstance(kind, inspect.BoolType) and isinstance(value, bool)


def _bounds(kind: inspect.IntType) -> tuple[int, int]:
    return kind.ge or 0, INTEGER_MAX if kind.le is None else kind.le


def _integer(value: object) -> int:
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX):
        raise ValueError
    return int(value)


def _to_datetime(value: object) -> datetime:
    """Parse an RFC 3339 time with an offset; return it in UTC."""
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - the caller's input, not a bug
    try:
        at = datetime.fromisoformat(value)
        in_utc = at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError from error
    if at.tzinfo is None or in_utc.year < YEAR_MIN:
        raise ValueError
    return in_utc


def _day(value: object) -> date:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - as above
    day = date.fromisoformat(value)
    if day.isoformat() != value or day.year < YEAR_MIN:
        raise ValueError
    return day
