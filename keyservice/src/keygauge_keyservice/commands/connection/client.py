"""A client of the HTTP API, either of a remote key service or in this process on the local database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.connection.document import Document, Send
from keygauge_keyservice.commands.connection.explanation import explain

_PAGE_MAX = 500
_TIMEOUT_S = 60.0
_UNAUTHORIZED, _REDIRECTS, _NO_SUCCESS = 401, range(300, 400), 300
NOT_FOUND = 404


class ApiError(CommandError):
    """The key service refused a request; the message uses the command line's terms."""

    def __init__(self, status: int, problem: Document, body: Document | None) -> None:
        super().__init__(explain(problem, body))
        self.status = status


class Api:
    """An API client: `api.get("accounts", id, plan="pro")` returns the document of /v1/accounts/id?plan=pro."""

    def __init__(self, send: Send, *, is_remote: bool = False) -> None:
        self._send = send
        self.is_remote = is_remote

    def get(self, *path: str, **query: object) -> Document:
        """Read a resource."""
        return self._call("GET", path, query)

    def post(self, *path: str, body: Document | None = None) -> Document:
        """Create a resource."""
        return self._call("POST", path, {}, body or {})

    def put(self, *path: str, body: Document) -> Document:
        """Replace a resource."""
        return self._call("PUT", path, {}, body)

    def patch(self, *path: str, body: Document) -> Document:
        """Change a resource."""
        return self._call("PATCH", path, {}, body)

    def delete(self, *path: str) -> Document:
        """Delete a resource."""
        return self._call("DELETE", path, {})

    def all(self, *path: str, field: str, most: int | None = None, **query: object) -> Iterator[Document]:
        """Yield a list's items, fetched page by page, at most `most`."""
        left, after = most, None
        while left is None or left > 0:
            size = _PAGE_MAX if left is None else min(left, _PAGE_MAX)
            page = self.get(*path, **query, after=after, limit=size)
            yield from page[field]
            left = left and left - len(page[field])
            after = page["next"]
            if after is None:
                return

    def _call(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: Document | None = None
    ) -> Document:
        params = {name: str(value) for name, value in query.items() if value is not None}
        status, content = self._send(method, "/".join(("/v1", *(quote(part, safe="") for part in path))), params, body)
        try:
            document = json.loads(content) if content else {}
        except ValueError as error:
            raise CommandError(
                f"the answer ({status}) is not JSON: is this the address of a KeyGauge key service?"
            ) from error
        if status >= _NO_SUCCESS or not isinstance(document, dict):
            raise ApiError(status, document if isinstance(document, dict) else {}, body)
        return document


@contextmanager
def connect(url: str | None, token: str | None, *, makes_secrets: bool = False) -> Iterator[Api]:
    """Yield a client for a URL or, without one, for the database; `makes_secrets` if the peppers are needed."""
    if url:
        yield Api(_remote(url.rstrip("/"), token), is_remote=True)
        return
    from keygauge_keyservice.commands.connection import in_process  # noqa: PLC0415 - a remote key service needs no Flask here

    with in_process.serve(makes_secrets=makes_secrets) as send:
        yield Api(send)


def _remote(url: str, token: str | None) -> Send:
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"{url!r} is not a URL: use a full one for --url, such as https://keys.example.com")
    if not token:
        raise CommandError(f"{url} requires a token: set KEYGAUGE_TOKEN (operators: KEYGAUGE_ADMIN_TOKEN)")
    pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def send(method: str, path: str, query: Mapping[str, str], body: Document | None) -> tuple[int, bytes]:
        fields = dict(query) or None
        try:
            if body is None:
                answer = pool.request(method, url + path, fields=fields, headers=headers, redirect=False)
            else:
                answer = pool.request(method, url + path, json=body, headers=headers, redirect=False)
        except HTTPError as error:
            raise CommandError(
                f"the key service at {url} does not answer ({_cause(error)}): check the address"
            ) from error
        if answer.status in _REDIRECTS:
            raise CommandError(f"{url} redirects to {answer.headers.get('Location')}: use that as --url")
        if answer.status == _UNAUTHORIZED:
            raise CommandError(f"the key service at {url} rejected the token: check KEYGAUGE_TOKEN")
        return answer.status, answer.data

    return send


def _cause(error: HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(error).__name__
