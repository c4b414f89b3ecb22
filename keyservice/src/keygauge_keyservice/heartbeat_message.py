"""What a replica says in a beat, read from JSON and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from keygauge_keyservice.clock_reading import Reading
from keygauge_keyservice.errors import FieldError, Problem

ENTRIES_MAX = 500  # in each list
MODEL_LENGTH_MAX = 256  # as long as events tell
_INTEGER_MAX = 2**53 - 1
_TEXT_LENGTH_MAX = 200
_MODES = ("enforce", "observe")

_T = TypeVar("_T")
_is_replica = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch
_is_digest = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch


@dataclass(frozen=True)
class LookUp:
    """A key that a caller showed and the replica does not know."""

    key_id: str
    digest: bytes


@dataclass(frozen=True)
class Acquisition:
    """Units of a limit that the replica asks for."""

    limit_id: str
    units: int
    waiting: int = 0  # of them, those that calls wait for


@dataclass(frozen=True)
class Hold:
    """A lease of slots that the replica holds still, with so many of them."""

    lease_id: str
    units: int


@dataclass(frozen=True)
class Return:
    """A lease that the replica gives back, and what it did not spend of it.

    With `used` it is open still: so much of it is spent or reserved by calls under way, the rest comes back now.
    """

    lease_id: str
    unspent: int
    ago_us: int | None = None  # when the last unit was spent, before this beat was sent
    used: int | None = None
    is_exact: bool = False  # `ago_us` is to be told to others that read the same clock


@dataclass(frozen=True)
class PriceName:
    """A model whose rates a replica needs: for an account with prices of its own, or for all others."""

    tariff: str | None
    provider: str | None
    model: str


@dataclass(frozen=True)
class Prices:
    """What a replica knows of prices, and what it wants to know."""

    state: str | None  # of the prices it has
    wanted: tuple[PriceName, ...]


@dataclass(frozen=True)
class HeartbeatMessage:
    """One beat of one replica."""

    replica: str
    service: str
    host: str
    version: str
    mode: str
    cursor: int | None
    epoch: str | None  # that the cursor is of; None at start, and from replicas older than epochs
    look_ups: tuple[LookUp, ...]
    acquisitions: tuple[Acquisition, ...]
    returns: tuple[Return, ...]
    holds: tuple[Hold, ...]
    prices: Prices | None  # None: it does not count cost
    reading: Reading | None = None  # of its clock, before it sent this


def parse(document: Any) -> HeartbeatMessage:
    """Read a beat; fields that are not known are passed over, for replicas that are newer than the service.

    Raises:
        Problem: 422 `bad_beat`; nothing of such a beat is applied.
    """
    if not isinstance(document, dict):
        _refuse("body", "is no JSON object")
    message = HeartbeatMessage(
        replica=_matched(document.get("replica"), "replica", _is_replica, "is no 32 hexadecimal digits"),
        service=_text(document.get("service"), "service"),
        host=_text(document.get("host"), "host"),
        version=_text(document.get("version"), "version"),
        mode=_mode(document.get("mode")),
        cursor=None if document.get("cursor") is None else _integer(document["cursor"], "cursor", 0),
        epoch=None if document.get("epoch") is None else _text(document["epoch"], "epoch"),
        look_ups=_each(document, "look_up", _look_up),
        acquisitions=_each(document, "acquire", _acquisition),
        returns=_each(document, "return", _return),
        holds=_each(document, "hold", _hold),
        prices=_prices(document.get("prices")),
        reading=_reading(document.get("clock")),
    )
    if len({wanted.limit_id for wanted in message.acquisitions}) < len(message.acquisitions):
        _refuse("acquire", "names a limit twice")
    return message


def _each(
    document: dict[str, Any], field: str, read: Callable[[dict[str, Any], str], _T], *, path: str = ""
) -> tuple[_T, ...]:
    items = document.get(field, [])
    field = f"{path}{field}"
    if not isinstance(items, list) or len(items) > ENTRIES_MAX:
        _refuse(field, f"is no list of at most {ENTRIES_MAX}")
    return tuple(read(_object(item, f"{field}[{index}]"), f"{field}[{index}]") for index, item in enumerate(items))


def _look_up(item: dict[str, Any], at: str) -> LookUp:
    digest = _matched(item.get("digest"), f"{at}.digest", _is_digest, "is no 64 hexadecimal digits")
    return LookUp(_text(item.get("key"), f"{at}.key"), bytes.fromhex(digest))


def _acquisition(item: dict[str, Any], at: str) -> Acquisition:
    units, waiting = item.get("units"), item.get("waiting", 0)
    return Acquisition(
        _text(item.get("limit"), f"{at}.limit"),
        _integer(units, f"{at}.units", 1),
        _integer(waiting, f"{at}.waiting", 0),
    )


def _hold(item: dict[str, Any], at: str) -> Hold:
    return Hold(_text(item.get("lease"), f"{at}.lease"), _integer(item.get("units"), f"{at}.units", 1))


def _return(item: dict[str, Any], at: str) -> Return:
    lease = _text(item.get("lease"), f"{at}.lease")
    if "used" in item:
        return Return(lease, 0, used=_integer(item["used"], f"{at}.used", 0))
    ago_us = _integer(item["ago_us"], f"{at}.ago_us", 0) if "ago_us" in item else None
    return Return(lease, _integer(item.get("unspent"), f"{at}.unspent", 0), ago_us, is_exact=item.get("exact") is True)


def _reading(value: Any) -> Reading | None:
    if value is None:
        return None
    part = _object(value, "clock")
    return Reading(_text(part.get("name"), "clock.name"), _integer(part.get("us"), "clock.us", 0))


def _prices(value: Any) -> Prices | None:
    if value is None:
        return None
    part = _object(value, "prices")
    state = None if part.get("state") is None else _text(part["state"], "prices.state")
    return Prices(state, _each(part, "want", _price_name, path="prices."))


def _price_name(item: dict[str, Any], at: str) -> PriceName:
    tariff, provider = item.get("tariff"), item.get("provider")
    return PriceName(
        None if tariff is None else _text(tariff, f"{at}.tariff"),
        None if provider is None else _text(provider, f"{at}.provider", MODEL_LENGTH_MAX),
        _text(item.get("model"), f"{at}.model", MODEL_LENGTH_MAX),
    )


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(field, "is no JSON object")
    return value


def _text(value: Any, field: str, length_max: int = _TEXT_LENGTH_MAX) -> str:
    if not isinstance(value, str) or len(value) > length_max or not value.isprintable():
        _refuse(field, f"is no text of at most {length_max} printable characters")
    return value


def _matched(value: Any, field: str, is_right: Callable[[str], object], complaint: str) -> str:
    if not isinstance(value, str) or not is_right(value):
        _refuse(field, complaint)
    return value


def _mode(value: Any) -> str:
    if not isinstance(value, str) or value not in _MODES:
        _refuse("mode", f"is none of {', '.join(_MODES)}")
    return value


def _integer(value: Any, field: str, least: int) -> int:
    if type(value) is not int or not least <= value <= _INTEGER_MAX:
        _refuse(field, f"is no whole number from {least} to {_INTEGER_MAX}")
    return value


def _refuse(field: str, complaint: str) -> NoReturn:
    raise Problem(422, "bad_beat", f"{field} {complaint}.", errors=[FieldError(field, "wrong", complaint)])
