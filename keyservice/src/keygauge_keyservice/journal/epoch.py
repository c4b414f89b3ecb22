"""The epoch: a name for the database's history, another one after every restore, failover and restart.

What replicas remember (the feed's cursor, which events the ledger has) holds for one history only. A name that is kept
in the database would come back with a restore, so PostgreSQL's own state tells it: when this server was started, which
a server that was restored or took over never shares with the one before; which database it is; and which file the feed
has, which a restore into a running server makes anew. A plain restart cannot be told from a restore of the server's
files, and is a new epoch too.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

# A part of a query that tells it, since it must be read in the transaction that it is for.
COLUMNS = (
    "extract(epoch FROM pg_postmaster_start_time())::text AS started, pg_relation_filenode('key_change') AS feed_file, "
    "(SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_id"
)


def of(row: dict[str, Any]) -> str:
    """Name the epoch that a row with `COLUMNS` tells."""
    identity = f"{row['started']} {row['database_id']} {row['feed_file']}"
    return sha256(identity.encode()).hexdigest()[:16]
