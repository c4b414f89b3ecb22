"""The optional path where callers read their own key's status; the app does not see these requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from keygauge import key as key_format
from keygauge.http.problem import CORS, Answer, answer
from keygauge.http.routing.open_paths import OpenPaths
from keygauge.limits import refusal
from keygauge.limits.credential import Conflict
from keygauge.settings.settings import Settings
from keygauge.sync.key_status import KeyStatus

_METHODS = frozenset({"GET", "HEAD"})
_OK, _UNAUTHORIZED, _TOO_MANY = 200, 401, 429
_FIELDS_MAX = 10  # per query


class KeyStatusPath:
    """The handler of requests for a key's status."""

    def __init__(self, path: str, *, key_header: str | None, takes_imported: bool) -> None:
        self._paths = OpenPaths([path])
        self._key_header = key_header
        self._takes_imported = takes_imported

    @classmethod
    def of(cls, settings: Settings) -> KeyStatusPath | None:
        """Create the handler from the settings; None if no path is set."""
        path = settings.key_status_path
        if path is None:
            return None
        return cls(path, key_header=settings.credential_header, takes_imported=settings.imported_keys)

    def is_asked_scope(self, scope: Mapping[str, Any]) -> bool:
        """Return whether an ASGI request is for a key's status."""
        return scope["type"] == "http" and scope["method"] in _METHODS and self._paths.has_scope(scope)

    def is_asked_environ(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a WSGI request is for a key's status."""
        return environ.get("REQUEST_METHOD") in _METHODS and self._paths.has_environ(environ)

    def answer(
        self, service: KeyStatus | None, token: bytes | Conflict | None, *, ip: str | None, query: str, origin: bool
    ) -> Answer:
        """Query the key service and return its answer; this blocks. `origin`: pages of other origins may read it."""
        if token is None:
            return answer(refusal.MISSING, [], is_cross_origin=origin, key_header=self._key_header)
        if isinstance(token, Conflict):
            return answer(refusal.CONFLICT, [], is_cross_origin=origin)
        question = self._question(token, ip, query)
        if question is None:
            return answer(refusal.UNKNOWN, [], is_cross_origin=origin)
        status = service.ask(question) if service is not None else None
        if status is None:
            return answer(refusal.UNAVAILABLE, [], is_cross_origin=origin)
        return _written(*status, origin=origin)

    def _question(self, token: bytes, ip: str | None, query: str) -> bytes | None:
        """Build the query to the key service, without the key itself; None if the token cannot be a key."""
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            return None
        digest = key_format.digest(text)
        key_id = key_format.parse(text)
        if key_id is None and self._takes_imported and not token.startswith(key_format.PREFIX):
            key_id = key_format.imported_id(digest)
        if key_id is None:
            return None
        try:
            fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
        except ValueError:  # too many fields
            fields = {"": ""}  # the key service rejects this
        return json.dumps({"key": key_id, "digest": digest.hex(), "ip": ip, "query": fields}).encode()


def _written(status: int, body: bytes, *, origin: bool) -> Answer:
    kind = b"application/json" if status == _OK else b"application/problem+json"
    headers = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"content-length", b"%d" % len(body))]
    if status == _UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="api", error="invalid_token"'))
    if status == _TOO_MANY:
        headers.append((b"retry-after", b"10"))
    return Answer(status, [*headers, *(CORS if origin else ())], body)
