"""Own prices: per model and, optionally, per provider and account, valid from a given time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit, change_feed


@dataclass(frozen=True, kw_only=True)
class OwnPrice:
    """A model's rates from `valid_from` on; None means any provider, or every account."""

    id: int
    model: str
    provider: str | None
    account_id: str | None
    valid_from: datetime
    tiers: tuple[Rates, ...]  # by input size, smallest first; the first one's `above` is -1
    created_at: datetime

    @property
    def version(self) -> str:
        """The `price_version` of events priced with it."""
        return f"own {self.id}"


def set_price(
    connection: Connection,
    *,
    model: str,
    tiers: Sequence[Rates],
    valid_from: datetime,
    provider: str | None = None,
    account_id: str | None = None,
    actor: str,
) -> OwnPrice:
    """Add a price; it applies to calls from `valid_from` on that are priced or re-rated from now on.

    Raises:
        Problem: 404 if there is no such account.
    """
    if account_id is not None:
        accounts.require(connection, account_id)
    after = {
        "model": model.lower(),
        "provider": provider.lower() if provider else None,
        "valid_from": valid_from.isoformat(),
        "tiers": [asdict(rates) for rates in tiers],
    }
    with connection.transaction():
        row = connection.execute(
            "/* prices.set */ INSERT INTO price (model, provider, account_id, valid_from, tiers) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING *",
            (after["model"], after["provider"], account_id, valid_from, Jsonb(after["tiers"])),
        ).fetchone()
        own = _own(row or {})
        audit.append(
            connection, account_id=account_id, actor=actor, action="price.set", subject=str(own.id), after=after
        )
        if account_id is not None:
            change_feed.record_account(connection, account_id)  # its keys now use a tariff
    return own


def list_prices(
    connection: Connection,
    *,
    model: str | None = None,
    account_id: str | None = None,
    after: int | None = None,
    limit: int | None = None,
) -> list[OwnPrice]:
    """Return a page of own prices by model, newest first; `after` is the last id of the previous page."""
    rows = connection.execute(
        "/* prices.list */ SELECT price.* FROM price LEFT JOIN price AS last ON last.id = %(after)s "
        "WHERE (%(model)s::text IS NULL OR price.model = lower(%(model)s)) "
        "AND (%(account_id)s::text IS NULL OR price.account_id = %(account_id)s) "
        "AND (%(after)s::bigint IS NULL OR price.model > last.model "
        "OR (price.model = last.model AND (price.valid_from, price.id) < (last.valid_from, last.id))) "
        "ORDER BY price.model, price.valid_from DESC, price.id DESC LIMIT %(limit)s",
        {"model": model, "account_id": account_id, "after": after, "limit": limit},
        prepare=False,
    )
    return [_own(row) for row in rows]


def find_state(connection: Connection) -> tuple[int, int]:
    """Return the number of own prices and the newest id, which change with every new or deleted price."""
    row = connection.execute(
        "/* prices.state */ SELECT count(*) AS count, coalesce(max(id), 0) AS newest FROM price"
    ).fetchone()
    return (row["count"], row["newest"]) if row else (0, 0)


def _own(row: dict[str, Any]) -> OwnPrice:
    return OwnPrice(**{**row, "tiers": tuple(Rates(**rates) for rates in row["tiers"])})
