"""The API in this process on the local database: the Flask app without a socket."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from keygauge_keyservice import config, database
from keygauge_keyservice.app import create_app
from keygauge_keyservice.commands.connection.document import Document, Send
from keygauge_keyservice.commands.connection.session import command_errors, existing_database, require_tables
from keygauge_keyservice.config import Settings
from keygauge_keyservice.keys import pepper_check
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.web.context import of_app

_LOCAL = "http://127.0.0.1:8080"  # default address of `keygauge serve`, for links
_WAIT_S = 30.0  # to wait for a connection; only the person at the terminal waits


@contextmanager
def serve(*, makes_secrets: bool) -> Iterator[Send]:
    """Yield the API for one command, with an operator token that is valid for this run only.

    Raises:
        CommandError: there is no database, migrations are pending, or its keys use another pepper.
    """
    token = secrets.token_urlsafe()
    with command_errors():
        url = existing_database()
        peppers = config.peppers() if makes_secrets else Peppers({})
        with database.connect(url) as connection:
            require_tables(connection)
            if makes_secrets:
                pepper_check.compare(connection, peppers)
        app = create_app(
            Settings(
                database_url=url,
                service_token=secrets.token_urlsafe(),
                admin_token=token,
                peppers=peppers,
                account_keys_max=config.account_keys_max(),
                public_url=config.public_url(),
            ),
            has_pages=False,
        )
    context = of_app(app)
    context.page_pool.timeout = context.replica_pool.timeout = _WAIT_S
    client, base_url = app.test_client(), config.public_url() or _LOCAL

    def send(method: str, path: str, query: Mapping[str, str], body: Document | None) -> tuple[int, bytes]:
        answer = client.open(
            path,
            base_url=base_url,
            method=method,
            query_string=dict(query),
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        )
        return answer.status_code, answer.data

    try:
        yield send
    finally:
        context.close()
