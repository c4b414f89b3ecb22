"""Owners are told once of each thing, by real receivers, and again and again until it arrives."""

import base64
import hashlib
import hmac
import json
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.notices import webhook as webhook_module
from keygauge_keyservice.notices.detection import of_key, of_quota
from keygauge_keyservice.notices.mail import MailServer
from keygauge_keyservice.notices.webhook import DeliveryError, Message, Sender, sign
from keygauge_keyservice.notices.worker import Worker
from keygauge_keyservice.usage.quota import Quota

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOOPBACK = (ip_network("127.0.0.0/8"),)
OWNER = "owner@acme.example"


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
    members.create(connection, account_id=account.id, email=OWNER, password="a long password", actor="test")
    return account


@pytest.fixture
def certificate(tmp_path):
    """A certificate for receiver.test, and the file that holds it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "receiver.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


class Receiver(BaseHTTPRequestHandler):
    """Takes webhooks as its server's `answers` say, and keeps them."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, dict(self.headers), body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "https://receiver.test/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver(certificate):
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.taken, server.answers = [], []
    with serving(server):
        yield server


@pytest.fixture
def sender(certificate):
    return Sender(allowed=LOOPBACK, resolve=lambda host, port: ["127.0.0.1"], ca_file=str(certificate))


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP as takes a message."""

    def handle(self):
        self.wfile.write(b"220 ready\r\n")
        lines = None
        for line in self.rfile:
            if lines is not None:
                if line == b".\r\n":
                    self.server.taken.append(message_from_string(b"".join(lines).decode()))
                    lines = None
                    self.wfile.write(b"250 taken\r\n")
                else:
                    lines.append(line)
                continue
            verb = line[:4].upper()
            if verb == b"DATA":
                lines = []
            answers = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
            self.wfile.write(answers.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return


@pytest.fixture
def mailbox():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    server.taken = []
    with serving(server):
        yield server


def webhook(connection, account, receiver, **fields):
    given = {"form": "webhook", "target": f"https://receiver.test:{receiver.server_port}/hook?x=1"}
    given |= {"kinds": ["quota", "key_disabled"], "actor": OWNER} | fields
    return channels.create(connection, account_id=account.id, **given)


def tell(connection, account, name="quota:monthly::2026-12-01T00:80", **fields):
    given = {"kind": "quota", "subject": "80% used", "text": "Resets soon."} | fields
    return outbox.add(connection, account_id=account.id, name=name, **given)


def message(**fields):
    given = {"id": "msg", "at": NOW, "created_at": NOW, "account_id": "a", "kind": "quota"}
    return Message(**given | {"subject": "80% used", "text": "Resets soon."} | fields)


def test_webhook_is_signed_as_the_standard_says(connection, account, receiver, sender):
    channel = webhook(connection, account, receiver)
    assert tell(connection, account)
    now = datetime.now(UTC)
    assert Worker(webhooks=sender).deliver(connection, now=now) == 1
    [(path, headers, body)] = receiver.taken
    assert path == "/hook?x=1"
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(channel.secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert (told["type"], told["data"]["subject"]) == ("keygauge.quota", "80% used")
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert (delivery.attempts, delivery.next_at, delivery.delivered_at) == (1, None, now)


def test_after_a_rotation_both_secrets_sign_for_a_day(connection, account, receiver, sender):
    channel = webhook(connection, account, receiver)
    rotated = channels.rotate_secret(connection, account.id, channel.id, actor=OWNER)
    assert rotated.secret != channel.secret
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    for number, at in enumerate([now + timedelta(hours=23), now + timedelta(hours=25)]):
        assert tell(connection, account, name=f"quota:monthly::2026-12-0{number + 1}T00:80")
        assert worker.deliver(connection, now=at) == 1
    signatures = [
        [sign(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body) for secret in secrets]
        for (_, headers, body), secrets in zip(
            receiver.taken, [[rotated.secret, channel.secret], [rotated.secret]], strict=True
        )
    ]
    assert [headers["webhook-signature"].split(" ") for _, headers, _ in receiver.taken] == signatures


def test_each_thing_is_told_once_to_those_who_want_it(connection, account, receiver):
    webhook(connection, account, receiver)
    webhook(connection, account, receiver, kinds=["invoice"])
    assert [tell(connection, account), tell(connection, account)] == [True, False]
    assert tell(connection, account, name="quota:monthly::2027-01-01T00:80")
    assert len(outbox.list_deliveries(connection, account.id)) == 2


def test_delivery_is_tried_again_with_one_id_until_it_arrives(connection, account, receiver, sender):
    webhook(connection, account, receiver)
    tell(connection, account)
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    receiver.answers += [500, 302]
    assert worker.deliver(connection, now=now) == 0
    assert worker.deliver(connection, now=now + timedelta(seconds=1)) == 0  # not yet
    assert worker.deliver(connection, now=now + outbox.RETRIES[0]) == 0
    assert worker.deliver(connection, now=now + outbox.RETRIES[0] + outbox.RETRIES[1]) == 1
    assert len({headers["webhook-id"] for _, headers, _ in receiver.taken}) == 1
    assert [path for path, _, _ in receiver.taken] == ["/hook?x=1"] * 3  # no redirect is followed


def test_delivery_that_never_arrives_is_given_up_and_says_why(connection, account, receiver, sender):
    webhook(connection, account, receiver)
    tell(connection, account)
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    receiver.answers += [503] * 20
    for wait in (timedelta(0), *outbox.RETRIES, timedelta(days=30)):
        now += wait
        worker.deliver(connection, now=now)
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert (delivery.next_at, delivery.delivered_at, delivery.attempts) == (None, None, len(outbox.RETRIES) + 1)
    assert delivery.error == "receiver.test answered 503"


def test_claim_of_a_process_that_died_is_taken_by_the_next(connection, account, receiver, sender):
    webhook(connection, account, receiver)
    tell(connection, account)
    now = datetime.now(UTC)
    assert len(outbox.claim(connection, now=now)) == 1  # and this one dies
    worker = Worker(webhooks=sender)
    assert worker.deliver(connection, now=now + timedelta(seconds=30)) == 0
    assert worker.deliver(connection, now=now + timedelta(minutes=3)) == 1
    assert len(receiver.taken) == 1


def test_an_account_with_much_to_tell_keeps_none_waiting(connection, account, receiver):
    other = accounts.create(connection, name="Other", plan_id="pro", actor="test")
    webhook(connection, account, receiver)
    for number in range(50):
        assert tell(connection, account, name=str(number))
    webhook(connection, other, receiver)
    assert tell(connection, other)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert other.id in {claimed.message.account_id for claimed in outbox.claim(connection, now=now)}
    assert {len(outbox.claim(connection, now=now)) for _ in range(4)} == {20, 11, 0}


def test_test_goes_to_one_channel(connection, account, receiver, sender):
    one, _ = webhook(connection, account, receiver), webhook(connection, account, receiver)
    outbox.add_test(connection, account_id=account.id, channel_id=one.id)
    assert Worker(webhooks=sender).deliver(connection, now=datetime.now(UTC)) == 1
    assert b"Test notification" in receiver.taken[0][2]


def test_mail_goes_to_a_member_and_is_the_same_when_sent_again(connection, account, mailbox):
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    tell(connection, account)
    mail = MailServer.parse(f"smtp://127.0.0.1:{mailbox.server_address[1]}", "KeyGauge <notices@example.com>")
    assert Worker(mail).deliver(connection, now=datetime.now(UTC)) == 1
    [taken] = mailbox.taken
    assert (taken["To"], taken["Subject"]) == (OWNER, "80% used")
    [delivery] = outbox.list_deliveries(connection, account.id)
    assert taken["Message-ID"] == f"<{delivery.id}@example.com>"


def test_without_a_mail_server_the_delivery_says_so(connection, account):
    channels.create(connection, account_id=account.id, form="email", target=OWNER, kinds=["quota"], actor=OWNER)
    tell(connection, account)
    Worker().deliver(connection, now=datetime.now(UTC))
    assert outbox.list_deliveries(connection, account.id)[0].error == "no mail server is configured"


@pytest.mark.parametrize(("form", "field"), [("slack", "text"), ("discord", "content")], ids=["slack", "discord"])
def test_chats_get_their_own_form_unsigned(receiver, sender, form, field):
    sender.send(form, f"https://receiver.test:{receiver.server_port}/services/x", None, message())
    [(_, headers, body)] = receiver.taken
    assert json.loads(body)[field] == "80% used\nResets soon."
    assert not any(name.startswith("webhook-") for name in headers)


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("168.63.129.16", "192.88.99.1"),
        *("::1", "::ffff:127.0.0.1", "fe80::1", "fec0::1", "ff0e::1", "fd00:ec2::254"),
        # the same IPv4 addresses behind NAT64, 6to4, Teredo and what was before them
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
def test_a_webhook_reaches_public_addresses(ip):
    assert Sender(resolve=lambda host, port: [ip])._find_address("receiver.test", 443) == ip


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 500 No\r\nA: "])
def test_a_receiver_that_answers_byte_by_byte_holds_nothing_up(certificate, sender, monkeypatch, head):
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


def test_certificate_of_another_name_is_refused(receiver, sender):
    with pytest.raises(DeliveryError, match="did not answer"):
        sender.send("webhook", f"https://other.test:{receiver.server_port}/", None, message())


@pytest.mark.parametrize(
    ("form", "target", "kinds"),
    [
        ("webhook", "http://receiver.test/", ["quota"]),
        ("webhook", "https://user:pass@receiver.test/", ["quota"]),
        ("webhook", "file:///etc/passwd", ["quota"]),
        ("webhook", "https://receiver.test:99999/", ["quota"]),
        ("webhook", "https://receiver.test/\r\nHost: x", ["quota"]),
        ("slack", "https://receiver.test/", ["quota"]),
        ("email", "stranger@elsewhere.example", ["quota"]),
        ("email", OWNER, []),
        ("email", OWNER, ["everything"]),
        ("pigeon", OWNER, ["quota"]),
    ],
)
def test_channel_without_sense_is_refused(connection, account, form, target, kinds):
    with pytest.raises(Problem) as refused:
        channels.create(connection, account_id=account.id, form=form, target=target, kinds=kinds, actor=OWNER)
    assert refused.value.status == 422
    assert channels.list_channels(connection, account.id) == []


@pytest.mark.parametrize(
    ("used", "told", "silent"),
    [(49, [], []), (50, [50], []), (80, [80], [50]), (96, [95], [80, 50]), (100, [100], [95, 80, 50])],
)
def test_highest_threshold_passed_is_told_and_those_below_count_as_told(used, told, silent):
    quota = Quota("monthly", "request", "month", None, 100, used, 0, used, NOW, NOW)
    found = list(of_quota(quota, {}))
    assert [int(one.name.rpartition(":")[2]) for one in found if not one.is_silent] == told
    assert [int(one.name.rpartition(":")[2]) for one in found if one.is_silent] == silent


def test_a_lifetime_is_told_once_and_for_all():
    quota = Quota("trial", "request", "lifetime", None, 100, 80, 0, 80, NOW, None)
    first, *_ = of_quota(quota, {})
    assert (first.name, first.subject) == ("quota:trial::lifetime:80", "80% of the request quota “trial” used in total")
    assert first.text.endswith("The request quota does not reset.")


def test_a_limit_that_is_only_tried_alarms_nobody():
    quota = Quota("monthly", "request", "month", None, 100, 100, 0, 100, NOW, NOW, dry_run=True)
    assert not list(of_quota(quota, {}))


def test_dates_of_a_key_are_told(connection, account, settings):
    given = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}
    key, _ = keys.create(connection, name="prod", expires_at=datetime.now(UTC) + timedelta(days=3), **given)
    assert [one.kind for one in of_key(key, now=datetime.now(UTC))] == ["expiring"]
    assert [one.kind for one in of_key(key, now=datetime.now(UTC) + timedelta(days=61))] == ["unused"]


def test_worker_tells_of_keys_that_expire_lie_unused_or_use_up_their_quota(connection, account, settings, receiver):
    webhook(connection, account, receiver)
    given, now = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}, datetime.now(UTC)
    expiring, _ = keys.create(connection, name="expiring", expires_at=now + timedelta(days=3), **given)
    keys.create(connection, name="expired", expires_at=now + timedelta(seconds=1), **given)
    unused, _ = keys.create(connection, name="unused", **given)
    connection.execute("UPDATE key SET created_at = now() - interval '100 days' WHERE id = %s", (unused.id,))
    limit = plans.Limit(name="daily", subject="key", unit="request", amount=10, period="day")
    plans.replace_limits(connection, "pro", [limit], actor="test")
    connection.execute(
        "INSERT INTO limit_state (id, account_id, head, cells, ends) SELECT id || ':' || %s, %s, "
        "extract(epoch FROM date_trunc('day', now(), 'UTC')), '{9}', ARRAY[2::bigint ^ 60]::bigint[] FROM plan_limit",
        (expiring.id, account.id),
    )
    assert Worker().find(connection, now=now + timedelta(seconds=2)) == 4
    told = connection.execute("SELECT name, subject FROM notice ORDER BY name").fetchall()
    assert [row["name"].split(":")[0] for row in told] == ["expiring", "quota", "quota", "unused"]
    assert all("“expiring”" in row["subject"] or "“unused”" in row["subject"] for row in told)


def test_worker_finds_what_happened_and_tells_it_once(connection, account, settings, receiver, sender):
    webhook(connection, account, receiver)
    given = {"peppers": settings.peppers, "account_id": account.id, "actor": "test"}
    key, _ = keys.create(connection, name="prod", **given)
    keys.set_status(connection, key.id, "disabled", actor=OWNER)
    worker, now = Worker(webhooks=sender), datetime.now(UTC)
    assert [worker.find(connection, now=now), worker.find(connection, now=now)] == [1, 0]
    assert worker.deliver(connection, now=datetime.now(UTC)) == 1
    assert "“prod” was disabled" in json.loads(receiver.taken[0][2])["data"]["subject"]
