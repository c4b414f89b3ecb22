"""The key service's part of the command `keygauge`."""

from __future__ import annotations

from keygauge.command import Subparsers
from keygauge_keyservice.commands import (
    accounts,
    billing,
    init,
    key_import,
    keys,
    ledger,
    members,
    migrate,
    plans,
    prices,
    serve,
    tokens,
    usage,
)


def register(subparsers: Subparsers) -> None:
    """Add the commands to the `keygauge` command."""
    for noun in (
        serve,
        init,
        migrate,
        plans,
        prices,
        accounts,
        members,
        keys,
        key_import,
        tokens,
        usage,
        billing,
        ledger,
    ):
        noun.register(subparsers)
