"""The resources of all views, available from the current app: settings, pools, metrics and prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry
from psycopg.errors import ReadOnlySqlTransaction

from keygauge.protocol import HeartbeatAnswer
from keygauge_keyservice.accounts.token_book import TokenBook
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import STALE_STATEMENT, Connection, Pool
from keygauge_keyservice.ledger.metrics import LedgerMetrics
from keygauge_keyservice.pricing import price_book
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.sync.heartbeat import Received
from keygauge_keyservice.sync.heartbeat_queue import HeartbeatQueue
from keygauge_keyservice.web.guess_throttle import GuessThrottle
from keygauge_keyservice.web.request_metrics import RequestMetrics

if TYPE_CHECKING:
    from keygauge_keyservice.accounts.sign_on import SignOn

_NAME = "keygauge"


@dataclass(frozen=True)
class Context:
    """Shared resources of an app's views."""

    settings: Settings
    replica_pool: Pool
    page_pool: Pool  # for everything but replicas, so that no heartbeat waits for pages
    registry: CollectorRegistry
    request_metrics: RequestMetrics
    ledger_metrics: LedgerMetrics
    sign_on: SignOn | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: committed at the end, rolled back on an exception; rows are dicts."""
        with _connection(self.page_pool) as connection:
            yield connection

    @contextmanager
    def replica_connection(self) -> Iterator[Connection]:
        """Yield a connection for replicas' requests, likewise."""
        with _connection(self.replica_pool) as connection:
            yield connection

    @cached_property
    def prices(self) -> PriceBook:
        """All prices."""
        return price_book.load()

    @cached_property
    def tokens(self) -> TokenBook:
        """This process's cache of tokens."""
        return TokenBook(self.replica_connection, self.connection, notes_use=not self.settings.read_only)

    @cached_property
    def guesses(self) -> GuessThrottle:
        """The throttle for unknown credentials."""
        return GuessThrottle()

    @cached_property
    def heartbeats(self) -> HeartbeatQueue:
        """The queue that answers heartbeats."""
        return HeartbeatQueue(self.replica_connection, self._answer)

    def _answer(
        self, connection: Connection, received: Sequence[Received], lock_timeout_ms: int
    ) -> list[HeartbeatAnswer]:
        return heartbeat.answer(
            connection,
            received,
            peppers=self.settings.peppers,
            prices=self.prices,
            lock_timeout_ms=lock_timeout_ms,
        )

    def close(self) -> None:
        """Close the pools."""
        self.replica_pool.close()
        self.page_pool.close()

    def attach(self, app: Flask) -> None:
        """Attach these services to an app."""
        app.extensions[_NAME] = self


@contextmanager
def _connection(pool: Pool) -> Iterator[Connection]:
    if pool.closed:  # first request after the fork
        pool.open()
    with pool.connection() as connection:
        try:
            yield connection
        except (ReadOnlySqlTransaction, *STALE_STATEMENT):  # a new connection may reach the new primary, and has none
            connection.close()
            raise


def services() -> Context:
    """Return the services of the current app."""
    return of_app(current_app)


def of_app(app: Flask) -> Context:
    """Return the services of an app."""
    return cast("Context", app.extensions[_NAME])
