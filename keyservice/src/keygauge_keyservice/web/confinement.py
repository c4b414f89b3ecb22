"""The scope of an account's token: its own resources; others appear not to exist."""

from __future__ import annotations

from collections.abc import Mapping

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import not_found

_KEY = "/* confinement.key */ SELECT FROM key WHERE id = %s AND account_id = %s"
_TOKEN = "/* confinement.token */ SELECT FROM token WHERE id = %s AND account_id = %s"  # noqa: S105 - a query
_PLAN = "/* confinement.plan */ SELECT FROM account WHERE plan_id = %s AND id = %s"


def confine(connection: Connection, account_id: str, ids: Mapping[str, str]) -> None:
    """Refuse a path that names another account or another account's resource; anything under its own path is allowed.

    Raises:
        Problem: 404, as for resources that do not exist.
    """
    if "account_id" in ids:
        if ids["account_id"] != account_id:
            raise not_found("account", ids["account_id"])
    elif "key_id" in ids:
        if not _is_found(connection, _KEY, ids["key_id"], account_id):
            raise not_found("key", ids["key_id"])
    elif "token_id" in ids:
        if not _is_found(connection, _TOKEN, ids["token_id"], account_id):
            raise not_found("token", ids["token_id"])
    elif not _is_found(connection, _PLAN, ids["plan_id"], account_id):
        raise not_found("plan", ids["plan_id"])


def _is_found(connection: Connection, query: str, *values: str) -> bool:
    return connection.execute(query, values).fetchone() is not None
