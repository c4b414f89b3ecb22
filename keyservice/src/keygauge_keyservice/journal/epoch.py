"""The epoch: an id of the database's history, which changes with every restore, failover and restart.

What replicas remember (the feed's cursor, which events the ledger has) is valid for one history only. An id stored in
the database would be restored with it, so it is derived from PostgreSQL's own state: the server's start time, which a
restored or promoted server never shares with its predecessor; the database's id; and the feed's file, which a restore
into a running server creates again. A plain restart cannot be distinguished from a restore of the server's files, so it
starts a new epoch too.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

# Columns for other queries, since the epoch must be read in the transaction that uses it.
COLUMNS = (
    "extract(epoch FROM pg_postmaster_start_time())::text AS started, pg_relation_filenode('key_change') AS feed_file, "
    "(SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_id"
)


def of(row: dict[str, Any]) -> str:
    """Return the epoch's id from a row with `COLUMNS`."""
    identity = f"{row['started']} {row['database_id']} {row['feed_file']}"
    return sha256(identity.encode()).hexdigest()[:16]
