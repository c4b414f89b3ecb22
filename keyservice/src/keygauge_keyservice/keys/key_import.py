"""Take over keys that another system issued: their SHA-256 is enough, and clients go on with the keys they have."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from keygauge import key as key_format
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.keys import key_limits, key_terms, keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, parse_limit
from keygauge_keyservice.secret import Peppers

PLAIN_LENGTH_MIN = 16  # of a key that is given as it is
_HASH_HINT = "must be the SHA-256 of the key: 64 hexadecimal digits, or base64"
_is_hex = re.compile(r"[0-9a-fA-F]{64}").fullmatch


@dataclass
class Imported:
    """What an import did."""

    created: list[keys.Key] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)  # made, by name
    present: int = 0  # here already: nothing changed of them


def take_over(
    connection: Connection,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    peppers: Peppers,
    plan_id: str | None,
    actor: str,
) -> Imported:
    """Take over keys, all or none: (where a key is told, what is told of it).

    A row has `hash` or `key`, `account` (an id or a name), the terms of a key, `limits` as the command line has them,
    and `disabled`. An account that is not there is made where a plan is given.

    Raises:
        Problem: a row makes no sense; the detail says where.
    """
    done = Imported()
    known = {name: account.id for account in accounts.list_accounts(connection) for name in (account.name, account.id)}
    for where, row in rows:
        try:
            _take_over(connection, dict(row), known, done, peppers=peppers, plan_id=plan_id, actor=actor)
        except Problem as problem:
            raise Problem(
                problem.status, problem.code, f"{where}: {problem.detail}", errors=problem.errors
            ) from problem
    return done


def _take_over(
    connection: Connection,
    row: dict[str, Any],
    known: dict[str, str],
    done: Imported,
    *,
    peppers: Peppers,
    plan_id: str | None,
    actor: str,
) -> None:
    texts = row.pop("limits", None) or []
    fields = Fields({"name": "imported", "environment": "live", **row})
    digest, owner = _digest(fields), fields.name("account")
    environment = fields.choice("environment", get_args(key_format.Environment))
    is_disabled = fields.flag("disabled", default=False)
    terms = key_terms.read_terms(fields, is_new=True)
    if len(texts) > LIMITS_MAX:
        fields.fail("limits", "too_many", f"must be at most {LIMITS_MAX}")
    fields.check()
    limits = [replace(parse_limit(text), subject="key") for text in texts]
    if owner not in known:
        known[owner] = _account(connection, owner, plan_id, actor=actor)
        done.accounts.append(owner)
    given = {"peppers": peppers, "account_id": known[owner], "environment": environment, "actor": actor, **terms}
    key = keys.take_over(connection, digest, **given)
    if key is None:
        done.present += 1
        return
    _restrict(connection, key, limits, is_disabled=is_disabled, actor=actor)
    done.created.append(key)


def _restrict(connection: Connection, key: keys.Key, limits: list[Limit], *, is_disabled: bool, actor: str) -> None:
    if limits:
        key_limits.replace(connection, key.id, limits, actor=actor, by_operator=True)
    if is_disabled:
        keys.set_status(connection, key.id, "disabled", actor=actor)


def _account(connection: Connection, name: str, plan_id: str | None, *, actor: str) -> str:
    if plan_id is None:
        raise Problem(
            404, "account_not_found", f"There is no account {name!r}: create it first, or give the plan for new ones."
        )
    return accounts.create(connection, name=name, plan_id=plan_id, actor=actor).id


def _digest(fields: Fields) -> bytes:
    """Return the SHA-256 that a row tells, or that of the key itself; errors are left in `fields`."""
    if "key" not in fields:
        text = fields.text("hash", length_max=64) or ""
        digest = _read_hash(text)
        if digest is None:
            fields.fail("hash", "wrong_hash", _HASH_HINT)
        return digest or b""
    token = fields.text("key", length_max=1000) or ""
    if "hash" in fields:
        fields.fail("key", "two_keys", "must not stand beside a hash: give one of them")
    elif not (token.isascii() and token.isprintable() and " " not in token and len(token) >= PLAIN_LENGTH_MIN):
        fields.fail("key", "weak_key", f"must be {PLAIN_LENGTH_MIN} or more ASCII characters without spaces")
    elif token.startswith(key_format.PREFIX.decode()):
        fields.fail("key", "own_key", "must be another system's: keys that begin with kg_ are issued here")
    return b"" if fields.errors else key_format.digest(token)


def _read_hash(text: str) -> bytes | None:
    if _is_hex(text):
        return bytes.fromhex(text)
    try:
        digest = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 32 else None  # noqa: PLR2004 - SHA-256
