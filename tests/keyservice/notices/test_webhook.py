import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.notices import webhook as webhook_module
from keygauge_keyservice.notices.webhook import DeliveryError, Message, Sender, sign
from keygauge_keyservice.notices.worker import Worker

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

OWNER = "owner@acme.example"


def message(**fields):
    given = {"id": "msg", "at": NOW, "created_at": NOW, "account_id": "a", "kind": "quota"}
    return Message(**given | {"subject": "80% used", "text": "Resets soon."} | fields)


def test_webhook_is_signed_as_standard_webhooks_specifies(connection, account, receiver, sender, webhook, notify):
    channel = webhook()
    assert notify()
    now = datetime.now(UTC)
    assert Worker(webhooks=sender).deliver(connection, now=now) == 1
    [(path, headers, body)] = receiver.taken
    assert path == "/hook?x=1"
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(channel.secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    payload = json.loads(body)
    assert (payload["type"], payload["data"]["subject"]) == ("keygauge.quota", "80% used")
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert (delivery.attempts, delivery.next_at, delivery.delivered_at) == (1, None, now)


def test_both_secrets_sign_for_a_day_after_a_rotation(connection, account, receiver, sender, webhook, notify):
    channel = webhook()
    rotated = channels.rotate_secret(connection, account.id, channel.id, actor=OWNER)
    assert rotated.secret != channel.secret
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    for number, at in enumerate([now + timedelta(hours=23), now + timedelta(hours=25)]):
        assert notify(name=f"quota:monthly::2026-12-0{number + 1}T00:80")
        assert worker.deliver(connection, now=at) == 1
    signatures = [
        [sign(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body) for secret in secrets]
        for (_, headers, body), secrets in zip(
            receiver.taken, [[rotated.secret, channel.secret], [rotated.secret]], strict=True
        )
    ]
    assert [headers["webhook-signature"].split(" ") for _, headers, _ in receiver.taken] == signatures


@pytest.mark.parametrize(("form", "field"), [("slack", "text"), ("discord", "content")], ids=["slack", "discord"])
def test_chat_services_get_their_own_format_unsigned(receiver, sender, form, field):
    sender.send(form, f"https://receiver.test:{receiver.server_port}/services/x", None, message())
    [(_, headers, body)] = receiver.taken
    assert json.loads(body)[field] == "80% used\nResets soon."
    assert not any(name.startswith("webhook-") for name in headers)


def test_names_in_a_slack_message_are_no_mentions_and_no_links(receiver, sender):
    sender.send("slack", f"https://receiver.test:{receiver.server_port}/x", [], message(subject="<!channel> R&D"))
    [(_, _, body)] = receiver.taken
    assert json.loads(body)["text"] == "&lt;!channel&gt; R&amp;D\nResets soon."


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("168.63.129.16", "192.88.99.1", "192.0.0.192", "3fff::1"),
        *("::1", "::ffff:127.0.0.1", "fe80::1", "fec0::1", "ff0e::1", "fd00:ec2::254"),
        # the same IPv4 addresses as NAT64, 6to4, Teredo, IPv4-compatible and IPv4-translated IPv6 addresses
        *(
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "::127.0.0.1",
            "::ffff:0:7f00:1",
        ),
    ],
)
def test_no_webhook_reaches_a_private_address(receiver, certificate, ip):
    sender = Sender(resolve=lambda host, port: ["93.184.215.14", ip], ca_file=str(certificate))
    with pytest.raises(DeliveryError, match="not a public address"):
        sender.send("webhook", f"https://receiver.test:{receiver.server_port}/", None, message())
    assert receiver.taken == []


@pytest.mark.parametrize("ip", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001::200e"])
def test_webhook_reaches_public_addresses(ip):
    assert Sender(resolve=lambda host, port: [ip])._find_address("receiver.test", 443) == ip


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 500 No\r\nA: "])
def test_receiver_that_answers_byte_by_byte_times_out(certificate, sender, monkeypatch, head):
    monkeypatch.setattr(webhook_module, "_TIMEOUT_S", 0.5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    over = threading.Event()

    def trickle(listener):
        with context.wrap_socket(listener.accept()[0], server_side=True) as client, suppress(OSError):
            client.sendall(head)
            while not over.wait(0.05):
                client.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        with pytest.raises(DeliveryError, match=r"did not answer|answered 500"):
            sender.send("webhook", f"https://receiver.test:{listener.getsockname()[1]}/", [], message())
        over.set()
        thread.join()


def test_certificate_of_another_name_is_rejected(receiver, sender):
    with pytest.raises(DeliveryError, match="did not answer"):
        sender.send("webhook", f"https://other.test:{receiver.server_port}/", None, message())


def test_resolving_a_name_has_a_timeout(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    with pytest.raises(TimeoutError):
        webhook_module.resolve("receiver.test", 443, timeout_s=0.01)
    answered.set()


def test_names_that_cannot_be_resolved_fail_the_delivery():
    for host in ("a" * 64, "nowhere.invalid"):
        with pytest.raises(DeliveryError, match="has no address"):
            Sender()._find_address(host, 443)
