"""E-mail through an SMTP server."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Self
from urllib.parse import unquote, urlsplit

from keygauge_keyservice.notices.webhook import DeliveryError, Message

_TIMEOUT_S = 10.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True)
class MailServer:
    """An SMTP server and the sender's address."""

    scheme: str
    host: str
    port: int
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, sender: str) -> Self:
        """Parse smtp://host:25, smtp+starttls://user:password@host:587 or smtps://….

        Raises:
            ValueError: the URL is none of these.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or "@" not in sender:
            raise ValueError("unknown server")
        port = parts.port or _PORTS[parts.scheme]
        user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
        return cls(parts.scheme, parts.hostname, port, sender, user, password)

    def send(self, target: str, message: Message) -> None:
        """Send a message; its Message-ID is the same on every attempt.

        Raises:
            DeliveryError: the server rejected it.
        """
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, target, message.subject
        mail["Date"] = format_datetime(message.created_at)
        mail["Message-ID"] = f"<{message.id}@{parseaddr(self.sender)[1].partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{message.text}\n\nYou get this e-mail because a notification is set up in the portal.\n")
        connect = smtplib.SMTP_SSL if self.scheme == "smtps" else smtplib.SMTP
        try:
            with connect(self.host, self.port, timeout=_TIMEOUT_S) as server:
                if self.scheme == "smtp+starttls":
                    server.starttls()
                if self.user is not None:
                    server.login(self.user, self.password or "")
                server.send_message(mail)
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"the mail server rejected it: {type(error).__name__}") from error
