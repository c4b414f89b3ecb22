"""Spool ownership: only the service whose token was used first may send a spool."""

from __future__ import annotations

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem

_CLAIM = """/* spool.claim */
INSERT INTO spool AS held (id, next, updated_at, token_name) VALUES (%(spool)s, 0, clock_timestamp(), %(service)s)
ON CONFLICT (id) DO UPDATE SET token_name = excluded.token_name WHERE held.token_name IS NULL
RETURNING token_name"""


def claim(connection: Connection, spool: str, service: str | None) -> None:
    """Bind a spool to the first service that sends it. None, the environment's token, may send unbound spools only.

    Raises:
        Problem: 403 if the spool is bound to another service.
    """
    row = connection.execute("/* spool.service */ SELECT token_name FROM spool WHERE id = %s", (spool,)).fetchone()
    bound = row["token_name"] if row else None
    if bound is None and service is not None:
        claimed = connection.execute(_CLAIM, {"spool": spool, "service": service}).fetchone()
        bound = claimed["token_name"] if claimed else None  # None: another service was first
    if bound != service:
        raise Problem(403, "spool_of_another", "Another service's token opened this spool.")
