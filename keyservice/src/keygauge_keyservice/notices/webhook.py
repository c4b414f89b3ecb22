"""Webhooks: signed as Standard Webhooks says, and sent to public addresses only.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

import urllib3

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]
Resolve: TypeAlias = Callable[[str, int], list[str]]

_TIMEOUT_S = 5.0
_PORT = 443
_OK = range(200, 300)
_TEXT_LENGTH_MAX = 1900  # Discord takes 2000


class DeliveryError(Exception):
    """A delivery that did not arrive; the message is for the owner."""


@dataclass(frozen=True)
class Message:
    """What is told; `id` stays the same however often it is sent, `at` is the time of this attempt."""

    id: str
    at: datetime
    created_at: datetime
    account_id: str
    kind: str
    subject: str
    text: str


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Sender:
    """Sends webhooks; `allowed` are private networks that they may reach nevertheless."""

    def __init__(self, *, allowed: Networks = (), resolve: Resolve = resolve, ca_file: str | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._ca_file = ca_file

    def send(self, form: str, target: str, secret: str | None, message: Message) -> None:
        """Send one message.

        Raises:
            DeliveryError: it did not arrive, or the receiver did not take it.
        """
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port or _PORT
        body = _body(form, message)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # The address that was checked is the one that is connected to: a name cannot change its mind in between.
        pool = urllib3.HTTPSConnectionPool(
            self._find_address(host, port),
            port,
            server_hostname=host,
            assert_hostname=host,
            ca_certs=self._ca_file,
            timeout=urllib3.Timeout(total=_TIMEOUT_S),
            retries=False,
        )
        try:
            answer = pool.urlopen(
                "POST",
                path,
                body=body,
                headers={"Host": parts.netloc, "Content-Type": "application/json", **_signed(secret, message, body)},
                redirect=False,
                preload_content=False,
            )
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DeliveryError(f"{host} did not answer: {type(error).__name__}") from error
        finally:
            pool.close()
        if answer.status not in _OK:
            raise DeliveryError(f"{host} answered {answer.status}")

    def _find_address(self, host: str, port: int) -> str:
        try:
            found = [ip_address(text.partition("%")[0]) for text in self._resolve(host, port)]
        except (OSError, ValueError) as error:
            raise DeliveryError(f"{host} has no address") from error
        for ip in found:
            plain = getattr(ip, "ipv4_mapped", None) or ip
            if not plain.is_global and not any(plain in network for network in self._allowed):
                raise DeliveryError(f"{host} is not a public address")
        if not found:
            raise DeliveryError(f"{host} has no address")
        return str(found[0])


def sign(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _signed(secret: str | None, message: Message, body: bytes) -> dict[str, str]:
    if secret is None:
        return {}
    timestamp_s = int(message.at.timestamp())
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(secret, message.id, timestamp_s, body),
    }


def _body(form: str, message: Message) -> bytes:
    text = f"{message.subject}\n{message.text}"[:_TEXT_LENGTH_MAX]
    if form == "slack":
        document: dict[str, object] = {"text": text}
    elif form == "discord":
        document = {"content": text, "allowed_mentions": {"parse": []}}
    else:
        data = {"account": message.account_id, "subject": message.subject, "text": message.text}
        document = {"type": f"keygauge.{message.kind}", "timestamp": message.created_at.isoformat(), "data": data}
    return json.dumps(document).encode()
