"""Webhooks: signed according to Standard Webhooks, and sent to public addresses only.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from queue import Empty, SimpleQueue
from threading import Thread, Timer
from typing import TypeAlias
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPSConnection

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]
Resolve: TypeAlias = Callable[[str, int], list[str]]

_TIMEOUT_S = 5.0  # to connect, and for the whole response
_PORT = 443
_OK = range(200, 300)
_UNICAST = ip_network("2000::/3")  # IPv6 global unicast; the rest is local, multicast or maps to IPv4, as NAT64 does
_6TO4 = ip_network("2002::/16")  # maps to IPv4 addresses too
_NOT_PUBLIC = (
    ip_network("192.0.0.0/24"),  # special purposes, such as a cloud's metadata; older versions of Python call it global
    ip_network("3fff::/20"),  # documentation
    ip_network("168.63.129.16/32"),  # Azure's host, which serves secrets
    ip_network("192.88.99.0/24"),  # 6to4 relays
)
_TEXT_LENGTH_MAX = 1900  # Discord's limit is 2000


class DeliveryError(Exception):
    """A failed delivery; the message is for the account's owner."""


@dataclass(frozen=True)
class Message:
    """A message; `id` is the same on every attempt, `at` is the time of this attempt."""

    id: str
    at: datetime
    created_at: datetime
    account_id: str
    kind: str
    subject: str
    text: str


def resolve(host: str, port: int, timeout_s: float = _TIMEOUT_S) -> list[str]:
    """Resolve a host to IP addresses, within a time limit, as the system waits long for slow name servers.

    Raises:
        OSError: it has none, or the response came too late.
        ValueError: it is not a valid name.
    """
    answered: SimpleQueue[list[str] | Exception] = SimpleQueue()
    Thread(target=_look_up, args=(host, port, answered), daemon=True).start()
    try:
        found = answered.get(timeout=timeout_s)
    except Empty:
        raise TimeoutError(f"{host} was not resolved in time") from None
    if isinstance(found, Exception):
        raise found
    return found


def _look_up(host: str, port: int, answered: SimpleQueue[list[str] | Exception]) -> None:
    try:
        answered.put([str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
    except (OSError, ValueError) as error:
        answered.put(error)


class Sender:
    """A sender of webhooks; `allowed` lists private networks that they may reach."""

    def __init__(self, *, allowed: Networks = (), resolve: Resolve = resolve, ca_file: str | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._ca_file = ca_file

    def send(self, form: str, target: str, secrets: Sequence[str], message: Message) -> None:
        """Send a message, signed with each of the secrets.

        Raises:
            DeliveryError: it did not arrive, or the receiver rejected it.
        """
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port or _PORT
        body = _body(form, message)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # Connect to the address that was checked, so that DNS cannot change in between.
        pool = _Pool(
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
                headers={"Host": parts.netloc, "Content-Type": "application/json", **_signed(secrets, message, body)},
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
            if not _is_public(plain) and not any(plain in network for network in self._allowed):
                raise DeliveryError(f"{host} is not a public address")
        if not found:
            raise DeliveryError(f"{host} has no address")
        return str(found[0])


class _Connection(HTTPSConnection):
    """A connection with a total time limit: socket timeouts are per read, and a receiver may send byte by byte."""

    _timer: Timer | None = None
    _copy: socket.socket | None = None  # of the socket, which TLS takes over

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._copy = made.dup()
        self._timer = Timer(_TIMEOUT_S, _end, [self._copy])
        self._timer.daemon = True
        self._timer.start()
        return made

    def close(self) -> None:
        """Close the connection and stop its timer."""
        if self._timer is not None and self._copy is not None:
            self._timer.cancel()
            self._copy.close()
        super().close()


class _Pool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Connection


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # already closed
        connection.shutdown(socket.SHUT_RDWR)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if ip.version == 6 and (ip not in _UNICAST or ip in _6TO4):  # noqa: PLR2004 - IPv6
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def sign(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return a signature for `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _signed(secrets: Sequence[str], message: Message, body: bytes) -> dict[str, str]:
    if not secrets:
        return {}
    timestamp_s = int(message.at.timestamp())
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(sign(secret, message.id, timestamp_s, body) for secret in secrets),
    }


def _body(form: str, message: Message) -> bytes:
    text = f"{message.subject}\n{message.text}"[:_TEXT_LENGTH_MAX]
    if form == "slack":
        document: dict[str, object] = {"text": html.escape(text, quote=False)}  # no mentions and links in names
    elif form == "discord":
        document = {"content": text, "allowed_mentions": {"parse": []}}
    else:
        data = {"account": message.account_id, "subject": message.subject, "text": message.text}
        document = {"type": f"keygauge.{message.kind}", "timestamp": message.created_at.isoformat(), "data": data}
    return json.dumps(document).encode()
