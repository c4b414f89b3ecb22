"""Hostile values in every form field, filter and address of the portal, found by recording what the views read."""

import csv
import re
from urllib.parse import quote_from_bytes, urlencode

import pytest
from flask import Request
from hypothesis import settings
from werkzeug.datastructures import ImmutableMultiDict

from keygauge_keyservice.accounts import members

pytestmark = pytest.mark.timeout(300)  # thousands of requests
PARTS = 4  # shared by two workers
EVERY = 5 if settings.get_current_profile_name() == "long" else 15  # nth value is tried if all were tried once

PASSWORD = "correct horse battery"
SCRIPT, IMAGE = "<script>alert(1)</script>", '"><svg onload=alert(1)>'
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        SCRIPT,
        IMAGE,
        "{{ 7 * 7 }}",
        "=1+1",
        "@SUM(A1)",
        "'; DROP TABLE key; --",
        "%s",
        "../../x",
    ),
    *(
        "-1",
        "0",
        "9" * 400,
        "1e9",
        "²",
        "١٢",
        "true",
        "[]",
        "2026-02-30",
        "0001-01-01",
        "9999-12-31",
        "2026-11-25T99:99",
    ),
    *(
        "10.0.0.0/99",
        "::/129",
        "0.0.0.0/0\n999.1.1.1",
        "\r\nX-Evil: 1",
        "\u202eevil",
        "é" * 3000,
        "a@b@c",
        "//evil.example",
    ),
)
HOSTILE = (*(text.encode() for text in TEXTS), b"\xff\xfe", b"\xed\xa0\x80", b"%00")
IN_PATHS = (
    b"-1",
    b"9" * 40,
    b"%00",
    b"%FF",
    b"..%2F..%2Fx",
    SCRIPT.encode(),
    "²".encode(),
    b"2026-13",
    b"1-2-3",
    b"kg_live_x",
)
GOOD = {  # a valid value per field, so that a view accepts all fields but the one under test
    "name": "a name",
    "environment": "live",
    "lifetime": "30",
    "form_id": "ab" * 16,
    "grace": "0",
    "status": "disabled",
    "role": "member",
    "email": "new@acme.example",
    "plan": "pro",
    "text": "a note",
    "theme": "dark",
    "next": "/keys",
    "password": PASSWORD,
    "again": PASSWORD,
    "old": PASSWORD,
    "new": PASSWORD,
    "from": "2026-05-01",
    "to": "2026-05-31",
}
ENDS_THE_SESSION = {"portal.sign_in.leave", "portal.password.change_password"}
METHODS = {"GET", "POST"}


@pytest.fixture
def names(app):
    """The names of all fields and arguments that views have read since the set was cleared."""
    read_keys = set()

    class Watched(ImmutableMultiDict):
        def __getitem__(self, key):
            read_keys.add(key)
            return super().__getitem__(key)

        def __contains__(self, key):
            read_keys.add(key)
            return super().__contains__(key)

        def get(self, key, *args, **options):
            read_keys.add(key)
            return super().get(key, *args, **options)

    class WatchedRequest(Request):
        parameter_storage_class = Watched

    app.request_class = WatchedRequest
    return read_keys


@pytest.fixture
def sender(app, connection, customer, signed_in, visitor):
    """Send a request as someone who may: an owner or, for operators' pages, an operator."""
    given = {"email": "op@example.com", "password": PASSWORD, "role": "operator"}
    members.create(connection, account_id=None, **given, actor="test")
    assert visitor.client.post("/sign-in", data=given).status_code == 303
    csrf = {
        one: re.search(r'name="csrf" value="([^"]+)"', one.get("/password").text)[1] for one in (signed_in, visitor)
    }

    def send(method, endpoint, address, fields):
        one = visitor if endpoint.startswith("portal.operator.") else signed_in
        fields = {"csrf": csrf[one].encode()} | fields if method == "POST" else fields
        text = urlencode(
            fields, quote_via=lambda value, *_: quote_from_bytes(value if isinstance(value, bytes) else value.encode())
        )
        if method == "GET":
            return one.get(f"{address}?{text}")
        return one.client.post(address, data=text, content_type="application/x-www-form-urlencoded")

    return send


def routes(app, customer):
    ids = {"key_id": customer.key.id, "account_id": customer.account.id, "member_id": "1", "invitation_id": "1"}
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("portal.") and rule.endpoint not in ENDS_THE_SESSION:
            address = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids.get(found[1], "x"), rule.rule)
            for method in sorted(rule.methods & METHODS):
                yield method, rule.endpoint, address, rule.rule


def find_faults(answer):
    """Return what is wrong with a response to hostile input."""
    faults = {
        f"status {answer.status_code}": answer.status_code >= 500,
        "script": answer.mimetype == "text/html" and (SCRIPT in answer.text or IMAGE in answer.text),
        "header": "X-Evil" in answer.headers,
        "redirect": (answer.location or "/").startswith(("//", "http")),
    }
    return [fault for fault, is_so in faults.items() if is_so]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_field_or_argument_causes_an_error(app, customer, names, sender, signed_in, part):
    walked, found, seen = 0, [], set()
    for method, endpoint, address, _ in list(routes(app, customer))[part::PARTS]:
        names.clear()
        sender(method, endpoint, address, {})
        tried = {"csrf"}
        while fresh := names - tried:
            name = min(fresh)
            tried.add(name)
            kind = re.sub(r"\d+", "0", name)  # fields of several rows count as those of the first
            values = HOSTILE[walked % EVERY :: EVERY] if kind in seen else HOSTILE
            seen.add(kind)
            for value in values:
                faults = find_faults(sender(method, endpoint, address, GOOD | {name: value}))
                found += [(method, address, name, value[:40], faults)] if faults else []
                walked += 1
    assert found == []
    assert walked > 800 / PARTS
    for path in ("/", "/keys", f"/keys/{customer.key.id}", "/members", "/audit", "/audit.csv", "/usage", "/calls"):
        answer = signed_in.get(path)
        assert (answer.status_code, find_faults(answer)) == (200, []), path
    cells = [cell for row in csv.reader(signed_in.get("/audit.csv").text.splitlines()) for cell in row]
    assert cells
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "-"))] == []


def test_no_address_causes_an_error(app, customer, sender):
    found = []
    for method, endpoint, _, rule in routes(app, customer):
        if "<" in rule:
            for value in IN_PATHS:
                address = re.sub(r"<(?:\w+:)?(\w+)>", lambda _, value=value: quote_from_bytes(value, safe="%"), rule)
                faults = find_faults(sender(method, endpoint, address, GOOD))
                found += [(method, address, faults)] if faults else []
    assert found == []
