"""HTTP API for notifications: where an account is notified of what, and the status of deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import ID_MAX, NumberedPage, Page, next_of, row_id
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_notifications", __name__, url_prefix="/v1/accounts/<account_id>")

_Kinds: TypeAlias = Annotated[
    list[channels.Kind], Meta(min_length=1, max_length=len(channels.KINDS), examples=[["quota", "invoice"]])
]


class NewNotification(Struct):
    """A new notification: where to send which events."""

    type: channels.Form
    target: Annotated[Text, Meta(description="a member's e-mail address, or a URL that starts with https://")]
    events: _Kinds


class NotificationChange(Struct):
    """A notification's new events."""

    events: _Kinds


class Notification(Struct):
    """A notification; a URL is reduced to its host, as its path may be a secret."""

    id: int
    type: channels.Form
    target: str
    events: list[channels.Kind]
    created_by: str
    created_at: datetime


class IssuedNotification(Notification):
    """A notification with its secret, shown once: null if it is not a webhook or the request is repeated."""

    secret: str | None


class NotificationPage(Struct):
    """A page of notifications."""

    notifications: list[Notification]
    next: str | None


class DeliveryQuery(Page):
    """A query for deliveries."""

    notification: Annotated[int, Meta(ge=1, le=ID_MAX, description="only deliveries of this notification")] | None = (
        None
    )
    status: Annotated[outbox.Status, Meta(description="only deliveries with this status")] | None = None
    sort: Annotated[outbox.Sort, Meta(description="sort order; prefix with - for newest first")] = "-created"


class Delivery(Struct):
    """A delivery; `next_at` is null once it is finished."""

    id: str
    notification: int
    event: str
    subject: str
    status: outbox.Status
    attempts: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    error: str | None


class DeliveryPage(Struct):
    """A page of deliveries."""

    deliveries: list[Delivery]
    next: str | None


class Test(Struct):
    """A queued test; `delivery` is the id of its delivery."""

    delivery: str


@blueprint.post("/notifications")
@owners_too
@idempotent
def create(account_id: str) -> Response:
    """Create a notification; a webhook's secret is shown once."""
    given = body(NewNotification)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        made = channels.create(
            connection, account_id=account_id, form=given.type, target=given.target, kinds=given.events, actor=actor()
        )
    return answer(IssuedNotification, {**_document(made), "secret": made.secret}, 201)


@blueprint.get("/notifications")
@owners_too
def list_page(account_id: str) -> Response:
    """List an account's notifications."""
    page = query(NumberedPage)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = channels.list_channels(connection, account_id, after=page.after, limit=page.limit)
    content = {"notifications": [_document(one) for one in found], "next": next_of(found, page.limit)}
    return answer(NotificationPage, content)


@blueprint.get("/notifications/<int:notification_id>")
@owners_too
def read(account_id: str, notification_id: int) -> Response:
    """Read a notification."""
    with services().connection() as connection:
        return answer(Notification, _document(channels.require(connection, account_id, row_id(notification_id))))


@blueprint.patch("/notifications/<int:notification_id>")
@owners_too
@idempotent
def change(account_id: str, notification_id: int) -> Response:
    """Change a notification's events."""
    given = body(NotificationChange)
    with services().connection() as connection:
        changed = channels.set_kinds(connection, account_id, row_id(notification_id), given.events, actor=actor())
    return answer(Notification, _document(changed))


@blueprint.delete("/notifications/<int:notification_id>")
@owners_too
@idempotent
def delete(account_id: str, notification_id: int) -> Response:
    """Delete a notification and its undelivered messages."""
    with services().connection() as connection:
        channels.delete(connection, account_id, row_id(notification_id), actor=actor())
    return Response(status=204)


@blueprint.post("/notifications/<int:notification_id>/rotate")
@owners_too
@idempotent
def rotate(account_id: str, notification_id: int) -> Response:
    """Rotate a webhook's secret; the new one is shown once."""
    with services().connection() as connection:
        rotated = channels.rotate_secret(connection, account_id, row_id(notification_id), actor=actor())
    return answer(IssuedNotification, {**_document(rotated), "secret": rotated.secret}, 201)


@blueprint.post("/notifications/<int:notification_id>/tests")
@owners_too
@idempotent
def test(account_id: str, notification_id: int) -> Response:
    """Queue a test."""
    with services().connection() as connection:
        channel = channels.require(connection, account_id, row_id(notification_id))
        delivery_id = outbox.add_test(connection, account_id=account_id, channel_id=channel.id)
    return answer(Test, {"delivery": delivery_id}, 202)


@blueprint.get("/deliveries")
@owners_too
def list_deliveries(account_id: str) -> Response:
    """List deliveries, past and pending."""
    params = query(DeliveryQuery)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = outbox.list_deliveries(
            connection,
            account_id,
            channel_id=params.notification,
            status=params.status,
            sort=params.sort,
            after=params.after or None,
            limit=params.limit,
        )
    deliveries = [vars(one) | {"notification": one.channel_id, "event": one.kind} for one in found]
    return answer(DeliveryPage, {"deliveries": deliveries, "next": next_of(found, params.limit)})


def _document(channel: channels.Channel) -> dict[str, object]:
    fields = {"type": channel.form, "target": channels.shown(channel.target), "events": channel.kinds}
    return {**fields, "id": channel.id, "created_by": channel.created_by, "created_at": channel.created_at}


PATHS = {
    "/v1/accounts/{account_id}/notifications": {
        "post": Operation(
            "createNotification",
            "Notify an account of events by e-mail, webhook, Slack or Discord; a webhook's secret is shown once",
            body=NewNotification,
            answer=IssuedNotification,
            status=201,
            problems=(404,),
            security="account",
        ),
        "get": Operation(
            "listNotifications",
            "List an account's notifications, oldest first",
            query=NumberedPage,
            answer=NotificationPage,
            problems=(404, 422),
            security="account",
        ),
    },
    "/v1/accounts/{account_id}/notifications/{notification_id}": {
        "get": Operation(
            "readNotification", "Read a notification", answer=Notification, problems=(404,), security="account"
        ),
        "patch": Operation(
            "changeNotification",
            "Change a notification's events",
            body=NotificationChange,
            answer=Notification,
            problems=(404,),
            security="account",
        ),
        "delete": Operation(
            "deleteNotification",
            "Delete a notification and its undelivered messages",
            status=204,
            problems=(404,),
            security="account",
        ),
    },
    "/v1/accounts/{account_id}/notifications/{notification_id}/rotate": {
        "post": Operation(
            "rotateNotificationSecret",
            "Rotate a webhook's signing secret, shown once; for 24 hours each webhook is signed with both",
            answer=IssuedNotification,
            status=201,
            problems=(404, 409),
            security="account",
        )
    },
    "/v1/accounts/{account_id}/notifications/{notification_id}/tests": {
        "post": Operation(
            "testNotification",
            "Send a test within seconds; it appears among the deliveries",
            answer=Test,
            status=202,
            problems=(404, 429),
            security="account",
        )
    },
    "/v1/accounts/{account_id}/deliveries": {
        "get": Operation(
            "listDeliveries",
            "List an account's deliveries, newest first",
            query=DeliveryQuery,
            answer=DeliveryPage,
            problems=(404, 422),
            security="account",
        )
    },
}
