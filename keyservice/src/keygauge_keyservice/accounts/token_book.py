"""A process's cache of valid tokens, by hash."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock
from time import monotonic

from keygauge_keyservice.accounts.tokens import COLUMNS, PREFIXES, Token, digest
from keygauge_keyservice.database import Connect

_FRESH_S = 2.0  # how long a revoked token may still be accepted
_MISSES_MAX = 10  # how often unknown tokens are queried in that time, as they may be new
_KEPT_MAX = 10_000  # cached account tokens

_READ = f"""/* tokens.read */ SELECT hash, {COLUMNS} FROM token
WHERE revoked_at IS NULL AND kind <> 'account'"""  # noqa: S608 - columns
_FIND = f"/* tokens.find */ SELECT {COLUMNS} FROM token WHERE hash = %s AND revoked_at IS NULL"  # noqa: S608 - columns
_USE = """/* tokens.use */ UPDATE token SET last_used_at = clock_timestamp() WHERE id = ANY(%s)
AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')"""


class TokenBook:
    """A cache of tokens: all service, admin and metrics tokens, and account tokens that were looked up.

    Unknown tokens of the former kinds cost few queries. `notes_use`: record when tokens were last used, which a standby
    database cannot do.
    """

    def __init__(self, connect: Connect, connect_unauthenticated: Connect, *, notes_use: bool = True) -> None:
        self._connect = connect
        self._connect_unauthenticated = connect_unauthenticated
        self._notes_use = notes_use
        self._lock = Lock()
        self._tokens: dict[bytes, Token] = {}
        self._of_accounts: dict[bytes, tuple[Token, float]] = {}  # with the time of the lookup
        self._used: set[str] = set()
        self._read_at: float | None = None
        self._missed = 0

    def find(self, secret: str) -> Token | None:
        """Return the cached valid token of a secret, or None."""
        if not secret.startswith(tuple(PREFIXES.values())):
            return None
        with self._lock:
            self._refresh_if_stale()
            hashed = digest(secret)
            if is_of_account(secret):
                known, at = self._of_accounts.get(hashed, (None, 0.0))
                return self._valid(known if monotonic() - at <= _FRESH_S else None)
            if hashed not in self._tokens and self._missed < _MISSES_MAX:
                self._missed += 1
                self._refresh()
            return self._valid(self._tokens.get(hashed))

    @property
    def is_fresh(self) -> bool:
        """Whether the cache is recent enough to be used."""
        return self._read_at is not None and monotonic() - self._read_at <= _FRESH_S

    def refresh(self) -> None:
        """Read all tokens but accounts' again, unless the cache is fresh."""
        with self._lock:
            self._refresh_if_stale()

    def find_cached(self, secret: str) -> Token | None:
        """Return the valid token of a secret if the cache has it and is fresh; this waits for nothing."""
        return self._valid(self._tokens.get(digest(secret))) if self.is_fresh else None

    def look_up(self, secret: str) -> Token | None:
        """Return the valid account token of a secret, or None; each call queries the database."""
        hashed = digest(secret)
        with self._connect_unauthenticated() as connection:
            row = connection.execute(_FIND, (hashed,)).fetchone()
        with self._lock:
            if len(self._of_accounts) >= _KEPT_MAX:
                self._of_accounts.clear()
            if row is None:
                self._of_accounts.pop(hashed, None)
                return None
            token = Token(**row)
            self._of_accounts[hashed] = token, monotonic()
            return self._valid(token)

    def _valid(self, token: Token | None) -> Token | None:
        if token is None or (token.expires_at is not None and token.expires_at <= datetime.now(UTC)):
            return None
        self._used.add(token.id)
        return token

    def _refresh_if_stale(self) -> None:
        if not self.is_fresh:
            self._missed = 0
            self._refresh()

    def _refresh(self) -> None:
        with self._connect() as connection:
            if self._used and self._notes_use:
                connection.execute(_USE, (list(self._used),))
            rows = connection.execute(_READ).fetchall()
        self._tokens = {row.pop("hash"): Token(**row) for row in rows}
        self._used.clear()
        self._read_at = monotonic()


def is_of_account(secret: str) -> bool:
    """Return whether a secret has the prefix of account tokens."""
    return secret.startswith(PREFIXES["account"])
