"""The demo's customers in an empty key service, once; their tokens and passwords are kept for the next start."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from keygauge_demo.customers import profiles
from keygauge_demo.settings import DemoError
from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.secret import Peppers

AGE = timedelta(days=92)  # of accounts and keys: a little older than their history
_ACTOR = "demo"
_PASSWORD_BYTES = 9


@dataclass(frozen=True)
class Seed:
    """The created objects: ids and tokens by the key's name, and the password shared by all members."""

    created_at: datetime
    key_ids: dict[str, str]
    account_ids: dict[str, str]  # by the key's name
    tokens: dict[str, str] = field(repr=False)
    password: str = field(repr=False)


def load_or_create(connection: Connection, *, peppers: Peppers, file: Path, now: datetime) -> Seed:
    """Return the database's seed; create it if there is none.

    Raises:
        DemoError: the database has accounts, but the file with their tokens is missing.
    """
    seed = read(file)
    if seed and all(keys.find(connection, key_id) for key_id in seed.key_ids.values()):
        return seed
    if accounts.list_accounts(connection, limit=1):
        raise DemoError(f"the database has accounts, but {file} does not know their keys: remove {file.parent}")
    with connection.transaction():
        seed = _create(connection, peppers, now)
        add_members_and_age(connection, seed)
        write(file, seed)  # before the commit: a file without keys is replaced, but keys without a file would be lost
    return seed


def _create(connection: Connection, peppers: Peppers, now: datetime) -> Seed:
    seed = empty(now)
    for plan in profiles.PLANS:
        plans.create(connection, plan_id=plan.id, name=plan.name, limits=_limits(plan), actor=_ACTOR)
        plans.set_terms(connection, plan.id, prorated=True, self_service=True, actor=_ACTOR)
    for profile in profiles.ACCOUNTS:
        account = accounts.create(connection, name=profile.name, plan_id=profile.plan, actor=_ACTOR)
        for part in profile.keys:
            key, token = keys.create(
                connection,
                peppers=peppers,
                account_id=account.id,
                name=part.name,
                environment=part.environment,
                actor=profile.email,
            )
            seed.key_ids[part.name], seed.account_ids[part.name], seed.tokens[part.name] = key.id, account.id, token
            if not part.is_enabled:
                keys.set_status(connection, key.id, "disabled", actor=profile.email)
    return seed


def _limits(plan: profiles.Plan) -> list[Limit]:
    limits = [
        Limit(name="rpm", unit="request", amount=plan.requests_per_minute, window_s=60),
        Limit(name="monthly_requests", unit="request", amount=plan.requests_per_month, period="month"),
    ]
    if plan.credits_per_month is not None:
        worth, amount = profiles.CREDIT_NANOUSD, plan.credits_per_month * profiles.CREDIT_NANOUSD
        limits.append(
            Limit(name="monthly_credits", unit="nanousd", amount=amount, period="month", credit_nanousd=worth)
        )
    return limits


def empty(now: datetime) -> Seed:
    """Return an empty seed with a new password."""
    return Seed(now, {}, {}, {}, secrets.token_urlsafe(_PASSWORD_BYTES))


def add_members_and_age(connection: Connection, seed: Seed) -> None:
    """Add members who can sign in, and make accounts and keys older than their history, except the visitor's key."""
    for profile in profiles.ACCOUNTS:
        account_id = seed.account_ids[profile.keys[0].name]
        members.create(connection, account_id=account_id, email=profile.email, password=seed.password, actor=_ACTOR)
    born_at = seed.created_at - AGE
    connection.execute(
        "/* seed.backdate_accounts */ UPDATE account SET created_at = %s WHERE id = ANY(%s)",
        (born_at, list(seed.account_ids.values())),
    )
    aged = [key_id for name, key_id in seed.key_ids.items() if name != profiles.VISITOR_KEY]
    connection.execute(
        "/* seed.backdate_keys */ UPDATE key SET created_at = %s WHERE id = ANY(%s)",
        (born_at + timedelta(hours=1), aged),
    )


def read(file: Path) -> Seed | None:
    """Read a seed from a file; None if there is no file.

    Raises:
        DemoError: the file is damaged, or another version wrote it.
    """
    if not file.exists():
        return None
    try:
        kept = json.loads(file.read_text())
        return Seed(**{**kept, "created_at": datetime.fromisoformat(kept["created_at"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DemoError(f"{file} cannot be read ({error!r}): remove {file.parent}") from error


def write(file: Path, seed: Seed) -> None:
    """Write a seed to a file that only its owner can read."""
    draft = file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({**asdict(seed), "created_at": seed.created_at.isoformat()}, stream, indent=2)
    draft.replace(file)
