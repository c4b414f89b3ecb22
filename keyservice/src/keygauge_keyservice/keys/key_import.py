"""Import of keys issued by another system: only their SHA-256 is needed, and clients keep using the keys they have."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta
from msgspec import field as message_field

from keygauge import key as key_format
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem
from keygauge_keyservice.keys import key_bound, key_limits, keys
from keygauge_keyservice.keys.key_terms import NewKey
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, parse_limit
from keygauge_keyservice.reading import given, read
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.values.field_types import Name, checked, matching

PLAIN_LENGTH_MIN = 16  # of a key given in plain text
_HASH_HINT = "must be the SHA-256 of the key: 64 hexadecimal digits, or base64"
_is_hex = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_is_padded = re.compile(r"[0-9A-Za-z+/_-]{43}=").fullmatch


def _read_hash(text: str) -> bytes:
    """Decode a SHA-256 from hexadecimal or base64.

    Raises:
        ValueError: the text is not a SHA-256.
    """
    if _is_hex(text):
        return bytes.fromhex(text)
    digest = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    if len(digest) != 32:  # noqa: PLR2004 - SHA-256
        raise ValueError(text)
    return digest


def may_be_hash(text: str) -> bool:
    """Return whether a text has the usual form of a SHA-256: 64 hexadecimal digits, or base64 with its padding."""
    return _is_hex(text) is not None or _is_padded(text) is not None


def _is_strong(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and len(text) >= PLAIN_LENGTH_MIN


class ForeignKey(NewKey, kw_only=True):
    """A key of another system: its SHA-256 or plain text, account, terms, and limits in command-line syntax."""

    name: Name = "imported"
    account: Name
    hash: Annotated[str, Meta(max_length=64, extra=checked(matching(_read_hash), "wrong_hash", _HASH_HINT))] | None = (
        None
    )
    key: (
        Annotated[
            str,
            Meta(
                max_length=1000,
                extra=checked(
                    matching(_is_strong),
                    "weak_key",
                    f"must be {PLAIN_LENGTH_MIN} or more ASCII characters without spaces",
                ),
            ),
        ]
        | None
    ) = None
    limits: Annotated[list[str], Meta(max_length=LIMITS_MAX)] = message_field(default_factory=list)
    disabled: bool = False

    def faults(self) -> Iterator[FieldError]:
        """Yield the reasons why the key cannot be imported."""
        if self.hash is None and self.key is None:
            yield FieldError("hash", "missing", "is required")
        if self.hash is not None and self.key is not None:
            yield FieldError("key", "two_keys", "cannot be combined with a hash: use one of them")
        if self.key is not None and self.key.startswith(key_format.PREFIX.decode()):
            yield FieldError("key", "own_key", "must be another system's: keys that begin with kg_ are issued here")

    @property
    def digest(self) -> bytes:
        """The key's SHA-256."""
        return key_format.digest(self.key) if self.key is not None else _read_hash(self.hash or "")


@dataclass
class Imported:
    """The result of an import."""

    created: list[keys.Key] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)  # names of the accounts created
    present: int = 0  # keys that were imported before and are unchanged
    rows: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # location and account ID by digest


def take_over(
    connection: Connection,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    peppers: Peppers,
    plan_id: str | None,
    actor: str,
    most: int = key_bound.PER_ACCOUNT_MAX,
) -> Imported:
    """Import keys, given as pairs of a location for error messages and a row.

    A row has `hash` or `key`, `account` (an id or a name), the terms of a key, `limits` in command-line syntax, and
    `disabled`. Missing accounts are created on the plan `plan_id`, if given. To import all keys or none, call this in a
    transaction.

    Raises:
        Problem: a row is invalid, or its account is missing; the detail starts with the row's location. 409 if an
            account gets more than `most` keys; the detail starts with the account.
    """
    done = Imported()
    known = _known_accounts(connection)
    for where, row in rows:
        try:
            _take_over(connection, where, dict(row), known, done, peppers=peppers, plan_id=plan_id, actor=actor)
        except Problem as problem:
            raise _located(where, problem) from problem
    for account_id in sorted({key.account_id for key in done.created}):
        try:
            key_bound.check(connection, account_id, most)
        except Problem as problem:
            name = next(name for name, one in known.items() if one == account_id)
            raise _located(f"account {name}", problem) from problem
    return done


def _known_accounts(connection: Connection) -> dict[str, str | None]:
    """Return the IDs of accounts by ID and name; None for a name that several have."""
    found = accounts.list_accounts(connection)
    named = Counter(account.name for account in found)
    by_name = {account.name: account.id if named[account.name] == 1 else None for account in found}
    return by_name | {account.id: account.id for account in found}


def _located(where: str, problem: Problem) -> Problem:
    return Problem(problem.status, problem.code, f"{where}: {problem.detail}", errors=problem.errors)


def _take_over(
    connection: Connection,
    where: str,
    row: dict[str, Any],
    known: dict[str, str | None],
    done: Imported,
    *,
    peppers: Peppers,
    plan_id: str | None,
    actor: str,
) -> None:
    named = read(ForeignKey, row | {"limits": row.get("limits") or []})
    limits = [replace(parse_limit(text), subject="key") for text in named.limits]
    if named.account not in known:
        known[named.account] = _account(connection, named.account, plan_id, actor=actor)
        done.accounts.append(named.account)
    account_id = known[named.account]
    if account_id is None:
        raise Problem(422, "invalid", f"More than one account is named {named.account!r}: use the id instead.")
    _check_repeated(done.rows, where, named.digest, account_id)
    terms = {name: value for name, value in given(named).items() if name in NewKey.__struct_fields__}
    key = keys.take_over(connection, named.digest, peppers=peppers, account_id=account_id, actor=actor, **terms)
    if key is None:
        done.present += 1
        return
    _restrict(connection, key, limits, is_disabled=named.disabled, actor=actor)
    done.created.append(key)


def _check_repeated(rows: dict[bytes, tuple[str, str]], where: str, digest: bytes, account_id: str) -> None:
    first, owner = rows.setdefault(digest, (where, account_id))
    if owner != account_id:
        raise Problem(422, "invalid", f"This is the key of {first}, with another account: remove one of them.")


def _restrict(connection: Connection, key: keys.Key, limits: list[Limit], *, is_disabled: bool, actor: str) -> None:
    if limits:
        key_limits.replace(connection, key.id, limits, actor=actor, by_operator=True)
    if is_disabled:
        keys.set_status(connection, key.id, "disabled", actor=actor)


def _account(connection: Connection, name: str, plan_id: str | None, *, actor: str) -> str:
    if plan_id is None:
        raise Problem(
            404,
            "account_not_found",
            f"There is no account {name!r}: create it first, or choose a plan for new accounts.",
        )
    return accounts.create(connection, name=name, plan_id=plan_id, actor=actor).id
