"""The connection to the key service: one kept-alive HTTP connection, for one thread."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


class ServiceError(Exception):
    """An unexpected answer, or none, from the key service; `status` is 0 if there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ServiceClient:
    """A client that posts to the key service; not thread-safe."""

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connect(parts.netloc, timeout=timeout_s)

    def post(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        """Post and return the answer's JSON object.

        Raises:
            ServiceError: there is no answer, its status is not 200, or it is not a JSON object.
        """
        status, text = self.exchange(path, body, content_type)
        if status != http.client.OK:
            raise ServiceError(f"{path}: the key service answered {status}: {text[:200]!r}", status=status)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ServiceError(f"{path}: the key service's answer is not JSON: {text[:200]!r}") from error
        if not isinstance(answer, dict):
            raise ServiceError(f"{path}: the key service's answer is not a JSON object: {text[:200]!r}")
        return answer

    def exchange(self, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Post and return the answer's status and body.

        Raises:
            ServiceError: there is no answer.
        """
        try:
            return self._exchange(path, body, content_type)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServiceError(f"{path}: no answer from the key service: {error!r}") from error
        except ValueError as error:  # an address or token that cannot be sent; the error's text would reveal the token
            self.close()
            raise ServiceError(f"{path}: could not be sent to the key service: {type(error).__name__}") from None

    def _exchange(self, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Send once, and again on a new connection if the server had closed the kept one."""
        headers = {**self._headers, "content-type": content_type}
        kept = self._connection.sock is not None
        try:
            return self._send(path, body, headers)
        except (ConnectionError, http.client.RemoteDisconnected):
            self.close()
            if not kept:
                raise
            return self._send(path, body, headers)

    def _send(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request("POST", self._prefix + path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        """Drop the connection; the next post opens another."""
        self._connection.close()
