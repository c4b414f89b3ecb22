from dataclasses import replace

from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.web.context import of_app

HOOK = {"form": "webhook", "target": "https://hooks.example.com/secret-path", "kinds": ["quota", "invoice"]}


def test_webhook_is_added_tested_rotated_and_removed_and_its_secret_shown_once(connection, signed_in, customer):
    added = signed_in.post("/notifications", HOOK, page="/notifications")
    [channel] = channels.list_channels(connection, customer.account.id)
    assert channel.secret in added.text
    page = signed_in.get("/notifications").text
    assert (channel.secret in page, "secret-path" in page, "hooks.example.com" in page) == (False, False, True)
    assert "secret-path" not in signed_in.get("/audit").text
    signed_in.post(f"/notifications/{channel.id}/test")
    [delivery] = outbox.list_deliveries(connection, customer.account.id)
    assert delivery.subject == "Test notification"
    assert "Pending" in signed_in.get("/notifications").text
    rotated = signed_in.post(f"/notifications/{channel.id}/rotate")
    [changed] = channels.list_channels(connection, customer.account.id)
    assert (changed.secret == channel.secret, changed.secret in rotated.text) == (False, True)
    signed_in.post(f"/notifications/{channel.id}/remove")
    assert channels.list_channels(connection, customer.account.id) == []
    assert "Notification removed" in signed_in.get("/audit").text


def test_invalid_channel_is_rejected_with_the_reason(connection, signed_in, customer):
    answer = signed_in.post("/notifications", HOOK | {"target": "http://10.0.0.1/"}, page="/notifications")
    assert (answer.status_code, "starts with https://" in answer.text) == (422, True)
    assert channels.list_channels(connection, customer.account.id) == []


def test_channel_of_another_account_is_not_found(connection, signed_in, stranger):
    given = {"form": "email", "target": stranger.member.email, "kinds": ["quota"], "actor": "x"}
    channel = channels.create(connection, account_id=stranger.account.id, **given)
    assert signed_in.post(f"/notifications/{channel.id}/remove").status_code == 404
    assert signed_in.post(f"/notifications/{channel.id}/test").status_code == 404
    assert signed_in.post(f"/notifications/{channel.id}/rotate").status_code == 404
    assert signed_in.post(f"/notifications/{2**70}/remove").status_code == 404


def test_page_says_that_e_mails_wait_without_a_mail_server(app, signed_in):
    assert "No mail server is configured" in signed_in.get("/notifications").text
    context = of_app(app)
    replace(context, settings=replace(context.settings, has_mail_server=True)).attach(app)
    assert "No mail server is configured" not in signed_in.get("/notifications").text
