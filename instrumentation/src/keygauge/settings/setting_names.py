"""The names of the middleware's settings, and likely misspellings of them: a misspelled setting has no effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

NAMES = frozenset(
    f"KEYGAUGE_{name}"
    for name in (
        *(
            "CREDENTIAL_HEADER",
            "ESTIMATE_USAGE",
            "IMPORTED_KEYS",
            "KEY_STATUS_PATH",
            "LOG_FIELDS",
            "MODE",
            "OPEN_PATHS",
        ),
        *("PROMETHEUS", "PROMETHEUS_PORTS", "PROVIDERS", "SEMCONV", "SERVICE_TOKEN", "SERVICE_URL", "SPOOL_BYTES"),
        *("SPOOL_DIR", "SPOOL_KEEP_S", "TAG", "TRUSTED_PROXIES", "UPSTREAM_AUTHORIZATION", "WAIT_S"),
    )
)
_SIMILAR = 0.9  # below it, settings of the key service would pass for these


def find_misspelled(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield environment variables that are no settings but nearly one, each with that one."""
    for name in sorted(set(names) - NAMES):
        if name.startswith("KEYGAUGE_"):
            yield from ((name, meant) for meant in difflib.get_close_matches(name, NAMES, 1, _SIMILAR))
