"""The outbox: each notice once; deliveries are claimed by one process at a time and retried until they succeed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from psycopg.rows import class_row

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.notices.channels import OLD_SECRET_LASTS
from keygauge_keyservice.notices.webhook import Message
from keygauge_keyservice.texts import gettext

Status: TypeAlias = Literal["pending", "retrying", "delivered", "failed"]
Sort: TypeAlias = Literal["created", "-created"]

# Delays after each failed attempt; after the last one, 3.7 days after the first, a delivery is given up.
RETRIES = tuple(timedelta(minutes=minutes) for minutes in (0.25, 2, 10, 60, 240, 720, 1440, 2880))
_CLAIMED = timedelta(minutes=2)  # longer than a batch can take; if the process dies, another one takes over
_BATCH = 10  # each may take 5 s to resolve the name and 5 s for the response
TESTS_MAX = 10  # per account and minute
_ERROR_LENGTH_MAX = 300
_LISTED = 50

_ADD = """/* outbox.add */
WITH added AS (
    INSERT INTO notice (account_id, kind, name, subject, text)
    VALUES (%(account_id)s, %(kind)s, %(name)s, %(subject)s, %(text)s)
    ON CONFLICT (account_id, name) DO NOTHING RETURNING id
), queued AS (
    INSERT INTO notice_delivery (notice_id, channel_id)
    SELECT added.id, channel.id FROM added CROSS JOIN notice_channel AS channel
    WHERE channel.account_id = %(account_id)s AND %(kind)s = ANY(channel.kinds) AND NOT %(is_silent)s
)
SELECT id FROM added"""
_CLAIM = """/* outbox.claim */
UPDATE notice_delivery AS delivery SET attempts = attempts + 1, next_at = %(now)s + %(claimed)s
FROM notice, notice_channel AS channel
WHERE delivery.id IN (
    SELECT id FROM notice_delivery WHERE next_at <= %(now)s AND id IN (
        SELECT id FROM (
            SELECT due.id, next_at, row_number() OVER (PARTITION BY account_id ORDER BY next_at) AS turn
            FROM notice_delivery AS due JOIN notice ON notice.id = notice_id WHERE next_at <= %(now)s) AS queue
        ORDER BY turn, next_at LIMIT %(batch)s)
    FOR UPDATE SKIP LOCKED)
AND notice.id = delivery.notice_id AND channel.id = delivery.channel_id
RETURNING delivery.id::text, delivery.attempts, notice.account_id, notice.kind, notice.subject, notice.text,
    notice.created_at, channel.form, channel.target, channel.secret,
    CASE WHEN channel.rotated_at > %(now)s - %(old_secret_lasts)s THEN channel.old_secret END AS old_secret"""
_STATUS = """CASE WHEN delivered_at IS NOT NULL THEN 'delivered' WHEN next_at IS NULL THEN 'failed'
    WHEN attempts = 0 THEN 'pending' ELSE 'retrying' END"""
_LIST = f"""/* outbox.list */
SELECT delivery.id::text, channel_id, notice.kind, notice.subject, notice.created_at, channel.form, channel.target,
    {_STATUS} AS status, attempts, next_at, delivered_at, error
FROM notice_delivery AS delivery JOIN notice ON notice.id = notice_id
JOIN notice_channel AS channel ON channel.id = channel_id
WHERE channel.account_id = %(account_id)s
AND (%(channel_id)s::bigint IS NULL OR channel_id = %(channel_id)s)
AND (%(status)s::text IS NULL OR {_STATUS} = %(status)s)
AND (%(after)s::text IS NULL OR (notice.created_at, delivery.id) {{beyond}} (
    SELECT last.created_at, one.id FROM notice_delivery AS one JOIN notice AS last ON last.id = one.notice_id
    WHERE one.id::text = %(after)s AND last.account_id = %(account_id)s))
ORDER BY notice.created_at {{direction}}, delivery.id {{direction}} LIMIT %(limit)s"""  # noqa: S608 - only constants
_LISTS = {
    "created": _LIST.format(beyond=">", direction="ASC"),
    "-created": _LIST.format(beyond="<", direction="DESC"),
}


@dataclass(frozen=True)
class Claimed:
    """A delivery for this process to attempt now."""

    message: Message
    attempts: int
    form: str
    target: str
    secrets: list[str]  # that sign, newest first


@dataclass(frozen=True)
class Delivery:
    """The state of a delivery; `next_at` is None when it is finished."""

    id: str
    channel_id: int
    kind: str
    subject: str
    created_at: datetime
    form: str
    target: str
    status: Status
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    error: str | None


def add(
    connection: Connection,
    *,
    account_id: str,
    kind: str,
    name: str,
    subject: str,
    text: str,
    is_silent: bool = False,
) -> bool:
    """Queue a notice for all channels that want its kind, unless its name exists; return whether it is new.

    `is_silent`: it is only recorded as sent, like lower thresholds that are passed at the same time.
    """
    values = {"account_id": account_id, "kind": kind, "name": name, "subject": subject, "text": text}
    return connection.execute(_ADD, values | {"is_silent": is_silent}).fetchone() is not None


def add_test(connection: Connection, *, account_id: str, channel_id: int) -> str:
    """Queue a test for one channel; return the delivery's id.

    Raises:
        Problem: 429 if the account sent too many in the last minute.
    """
    [lately] = connection.execute(
        "/* outbox.tests */ SELECT count(*) AS n FROM notice WHERE account_id = %s AND kind = 'test' "
        "AND created_at > now() - interval '1 minute'",
        (account_id,),
    ).fetchall()
    if lately["n"] >= TESTS_MAX:
        detail = gettext("At most %(most)s tests per minute. Try again in a minute.", most=TESTS_MAX)
        raise Problem(429, "too_many_tests", detail, headers={"Retry-After": "60"})
    [row] = connection.execute(
        "/* outbox.test */ WITH added AS (INSERT INTO notice (account_id, kind, name, subject, text) "
        "VALUES (%(account_id)s, 'test', 'test:' || gen_random_uuid(), 'Test notification', "
        "'Notifications for this account arrive here.') RETURNING id) "
        "INSERT INTO notice_delivery (notice_id, channel_id) SELECT id, %(channel_id)s FROM added RETURNING id::text",
        {"account_id": account_id, "channel_id": channel_id},
    ).fetchall()
    return str(row["id"])


def claim(connection: Connection, *, now: datetime) -> list[Claimed]:
    """Claim due deliveries, taking turns between accounts; no other process attempts them until the claim expires."""
    values = {"now": now, "claimed": _CLAIMED, "batch": _BATCH, "old_secret_lasts": OLD_SECRET_LASTS}
    return [_claimed(row, now) for row in connection.execute(_CLAIM, values)]


def succeed(connection: Connection, delivery_id: str, *, now: datetime) -> None:
    """Mark a delivery as delivered."""
    connection.execute(
        "/* outbox.succeed */ UPDATE notice_delivery SET delivered_at = %s, next_at = NULL, error = NULL WHERE id = %s",
        (now, delivery_id),
    )


def fail(connection: Connection, claimed: Claimed, error: str, *, now: datetime) -> None:
    """Schedule a failed delivery's next attempt, or give it up."""
    is_over = claimed.attempts > len(RETRIES)
    connection.execute(
        "/* outbox.fail */ UPDATE notice_delivery SET next_at = %s, error = %s WHERE id = %s",
        (None if is_over else now + RETRIES[claimed.attempts - 1], error[:_ERROR_LENGTH_MAX], claimed.message.id),
    )


def list_deliveries(
    connection: Connection,
    account_id: str,
    *,
    channel_id: int | None = None,
    status: Status | None = None,
    sort: Sort = "-created",
    after: str | None = None,
    limit: int = _LISTED,
) -> list[Delivery]:
    """Return an account's deliveries after one; optionally of one channel or with one status."""
    params = {"account_id": account_id, "channel_id": channel_id, "status": status, "after": after, "limit": limit}
    with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(_LISTS[sort], params, prepare=False).fetchall()


def _claimed(row: dict[str, Any], now: datetime) -> Claimed:
    message = Message(
        id=row["id"],
        at=now,
        created_at=row["created_at"],
        account_id=row["account_id"],
        kind=row["kind"],
        subject=row["subject"],
        text=row["text"],
    )
    secrets = [secret for secret in (row["secret"], row["old_secret"]) if secret]
    return Claimed(message, row["attempts"], row["form"], row["target"], secrets)
