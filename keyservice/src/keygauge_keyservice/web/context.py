"""What every view needs: settings, the pool, the metrics and the prices, reachable from the current app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry

from keygauge_keyservice.accounts.oidc import SignOn
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection, Pool
from keygauge_keyservice.ledger.metrics import LedgerMetrics
from keygauge_keyservice.pricing.price_book import PriceBook

_NAME = "keygauge"


@dataclass(frozen=True)
class Context:
    """The parts that the views of one app share."""

    settings: Settings
    pool: Pool
    registry: CollectorRegistry
    prices: PriceBook
    ledger_metrics: LedgerMetrics
    sign_on: SignOn | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give one connection in a transaction: committed at the end, rolled back on an exception; rows are dicts."""
        if self.pool.closed:  # the first request after the fork
            self.pool.open()
        with self.pool.connection() as connection:
            yield connection

    def attach(self, app: Flask) -> None:
        """Make these the services of an app."""
        app.extensions[_NAME] = self


def services() -> Context:
    """Return the services of the current app."""
    return cast("Context", current_app.extensions[_NAME])
