"""An account and real receivers of its notices: a webhook server with TLS and a mail server."""

import socketserver
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.notices.webhook import Sender

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
    """A file with a certificate for receiver.test and its private key."""
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
    """A webhook receiver that adds requests to its server's `taken` and responds with the statuses in `answers`."""

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
    """The part of SMTP that is needed to receive a message."""

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


@pytest.fixture
def webhook(connection, account, receiver):
    """`webhook()` creates a channel to the receiver for the account, or for another one."""

    def webhook(account=account, **fields):
        given = {"form": "webhook", "target": f"https://receiver.test:{receiver.server_port}/hook?x=1"}
        given |= {"kinds": ["quota", "key_disabled"], "actor": OWNER} | fields
        return channels.create(connection, account_id=account.id, **given)

    return webhook


@pytest.fixture
def notify(connection, account):
    """`notify()` queues a notice for the account, or for another one."""

    def notify(account=account, name="quota:monthly::2026-12-01T00:80", **fields):
        given = {"kind": "quota", "subject": "80% used", "text": "Resets soon."} | fields
        return outbox.add(connection, account_id=account.id, name=name, **given)

    return notify
