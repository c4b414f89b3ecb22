"""The notification worker: finds notices, queues each once, and delivers those that are due."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.notices import detection, outbox
from keygauge_keyservice.notices.mail import MailServer
from keygauge_keyservice.notices.outbox import Claimed
from keygauge_keyservice.notices.webhook import DeliveryError, Sender

_log = logging.getLogger(__name__)

_ACCOUNTS = "/* notices.accounts */ SELECT DISTINCT account_id AS id FROM notice_channel ORDER BY 1"


@dataclass(frozen=True)
class Worker:
    """A worker that finds and delivers notices; without a mail server, e-mail deliveries fail with that reason."""

    mail: MailServer | None = None
    webhooks: Sender = field(default_factory=Sender)

    def find(self, connection: Connection, *, now: datetime) -> int:
        """Queue new notices for accounts that have channels; return how many."""
        added = 0
        for row in connection.execute(_ACCOUNTS).fetchall():
            account = accounts.require(connection, row["id"])
            for found in detection.find(connection, account, now=now):
                added += outbox.add(connection, account_id=account.id, **vars(found))
        return added

    def deliver(self, connection: Connection, *, now: datetime) -> int:
        """Attempt the deliveries that are due, on an autocommit connection; return how many succeeded."""
        arrived = 0
        for claimed in outbox.claim(connection, now=now):
            try:
                self._send(claimed)
            except DeliveryError as error:
                _log.info("a notice did not arrive at attempt %d", claimed.attempts)
                outbox.fail(connection, claimed, str(error), now=now)
            except Exception:  # noqa: BLE001 - the target of one account must not stop the notices of others
                _log.exception("a notice could not be sent")
                outbox.fail(connection, claimed, "it could not be sent", now=now)
            else:
                outbox.succeed(connection, claimed.message.id, now=now)
                arrived += 1
        return arrived

    def _send(self, claimed: Claimed) -> None:
        if claimed.form != "email":
            self.webhooks.send(claimed.form, claimed.target, claimed.secrets, claimed.message)
        elif self.mail is None:
            raise DeliveryError("no mail server is configured")
        else:
            self.mail.send(claimed.target, claimed.message)
