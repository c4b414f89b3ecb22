"""Attacks on people's accounts, over HTTP against a real key service without a proxy."""

import http.client
import re
import socket
from urllib.parse import urlsplit

import pytest
from browser import PASSWORD, Browser
from stack import Stack, fresh_database

from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, login_throttle, members, plans

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="other systems have one loopback address only")

PUBLIC = "https://keys.acme.example"
GUESS = "a password of nobody at all"
EVIL = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "Forwarded": "host=evil.example",
    "X-Original-URL": "/operator/",
}
PLANTED = "of-the-attacker"


@pytest.fixture(scope="module")
def stack(postgresql, _template, tmp_path_factory):
    with fresh_database(postgresql, _template) as url:
        stack = Stack(url, tmp_path_factory.mktemp("attacked"))
        with database.connect(url) as connection:
            plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
        try:
            stack.start_service(KEYGAUGE_PUBLIC_URL=PUBLIC)
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def browser(stack):
    return lambda address="127.0.0.2": Browser(stack.port_service, address)


@pytest.fixture
def owner(stack, browser):
    """`owner(name)` creates an account and returns its owner's browser, signed in."""

    def make(name):
        with database.connect(stack.database_url) as connection:
            account = accounts.create(connection, name=name, plan_id="pro", actor="test")
            options = {"account_id": account.id, "email": f"owner@{name}.example", "password": PASSWORD}
            members.create(connection, **options, role="owner", actor="test")
        visitor = browser()
        assert visitor.sign_in(options["email"]).status == 303
        return visitor

    return make


def join(browser, link, password):
    return browser.post(urlsplit(link).path, {"password": password, "again": password}).status


def test_links_redirects_and_cookies_use_the_public_url(owner, browser):
    acme = owner("hosts")
    assert acme.invite("new@hosts.example", headers=EVIL).startswith(f"{PUBLIC}/invitation/")
    answers = [acme.get(path, headers=EVIL) for path in ("/keys", "/members", "/sign-in", "/operator/")]
    answers += [browser().get("/keys", headers=EVIL), browser().sign_in("owner@hosts.example", headers=EVIL)]
    for answer in answers:
        assert "evil.example" not in answer.text + (answer.headers["Location"] or "")
    cookies = " ".join(answers[-1].headers.get_all("Set-Cookie"))
    assert "__Host-keygauge_session=" in cookies
    assert all(words in cookies for words in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Domain" not in cookies


def test_session_fixation_fails(owner, browser):
    owner("planted")
    victim = browser()
    victim.cookies["__Host-keygauge_session"] = PLANTED
    assert victim.sign_in("owner@planted.example").status == 303
    assert victim.cookies["__Host-keygauge_session"] != PLANTED
    attacker = browser("127.0.0.66")
    attacker.cookies["__Host-keygauge_session"] = PLANTED
    assert attacker.get("/keys").headers["Location"].startswith("/sign-in")
    before = victim.cookies["__Host-keygauge_session"]
    victim.post("/sign-out", victim.csrf("/password"))
    attacker.cookies["__Host-keygauge_session"] = before
    assert attacker.get("/keys").status == 303  # a copied cookie is invalid after sign-out


def test_cross_site_forms_are_refused(owner):
    acme = owner("forms")
    form = acme.csrf("/members") | {"email": "thief@evil.example", "role": "owner"}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert acme.post("/members", form, headers=headers).status == 403
    assert acme.post("/members", form | {"csrf": "00"}).status == 403
    assert "thief@evil.example" not in acme.get("/members").text


def test_guessing_is_throttled_despite_forged_headers_and_locks_nobody_else_out(owner, browser):
    owner("locked")
    attacker, email = browser("127.0.0.66"), "owner@locked.example"
    statuses = [
        attacker.sign_in(email, f"{GUESS} {number}", headers={"X-Forwarded-For": f"192.0.2.{number}"}).status
        for number in range(7)
    ]
    assert statuses == [422] * 5 + [429] * 2
    assert attacker.sign_in(email).status == 429
    assert browser("127.0.0.2").sign_in(email).status == 303


def test_a_membership_of_ones_own_gives_no_more_guesses_at_another_persons_password(owner, browser):
    evil, email = owner("guesser"), "owner@guessed.example"
    owner("guessed")
    assert join(browser("127.0.0.66"), evil.invite(email), PLANTED) == 303

    same, address = browser("127.0.0.66"), "127.0.0.69"
    for number in range(login_throttle.PER_EMAIL_AND_IP):  # from a browser that is known, or new each time
        for attacker in (same, browser(address)):
            assert attacker.sign_in(email, f"{GUESS} {number}").status == 422
            attacker.sign_in(email, PLANTED)
    assert same.sign_in(email).status == 422  # even with the right password
    assert browser(address).sign_in(email).status == 429
    assert browser().sign_in(email).status == 303


def test_membership_is_not_disclosed(owner, browser):
    acme, attacker = owner("oracle"), browser("127.0.0.67")
    known, unknown = (attacker.sign_in(f"{name}@oracle.example", GUESS) for name in ("owner", "nobody"))
    assert known.status == unknown.status == 422
    assert known.text.replace("owner@", "nobody@") == unknown.text
    other = owner("oracle2")
    invited = [other.invite(email) for email in ("owner@oracle.example", "nobody@oracle.example")]
    assert len({link.rpartition("/")[0] for link in invited}) == 1
    assert "oracle2" not in acme.get("/members").text


def test_registering_a_foreign_email_address_gives_no_access(owner, browser):
    evil, acme = owner("evil"), owner("taken")
    email = "victim@people.example"
    attacker = browser("127.0.0.66")
    assert join(attacker, evil.invite(email), GUESS) == 303  # in the attacker's own account, with their password
    victim = browser()
    assert join(victim, acme.invite(email), PASSWORD) == 303
    assert "taken" in victim.get("/").text
    again = browser()
    assert again.sign_in(email).status == 303
    assert "taken" in again.get("/").text
    assert attacker.sign_in(email, GUESS).status == 303
    page = attacker.get("/password").text
    assert "Switch account" not in page
    form = attacker.csrf("/password")
    statuses = {attacker.post("/password/account", form | {"member": str(number)}).status for number in range(1, 30)}
    assert statuses == {404}


def test_invitations_cannot_take_over_an_owner(owner, browser):
    acme, email = owner("coowned"), "second@coowned.example"
    second = browser()
    assert join(second, acme.invite(email, "owner"), PASSWORD) == 303
    again = acme.post("/members", acme.csrf("/members") | {"email": email, "role": "owner"})
    assert (again.status, "/invitation/" in again.text) == (409, False)
    third, email = browser(), "third@coowned.example"
    assert join(third, acme.invite(email), PASSWORD) == 303
    link = acme.invite(email)  # as for a lost password, but used after the member has become an owner
    form = r'action="/members/([0-9]+)/role"(?:(?!/role").)*?Role of third@'
    number = re.search(form, acme.get("/members").text, re.DOTALL)
    assert acme.post(f"/members/{number[1]}/role", acme.csrf("/members") | {"role": "owner"}).status == 303
    assert join(browser("127.0.0.66"), link, GUESS) == 404
    assert [one.get("/keys").status for one in (second, third)] == [200, 200]


def test_request_smuggling_in_a_body_fails(owner, stack):
    inner = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", stack.port_service, timeout=60)
    connection.request("POST", "/nowhere", inner, {"Content-Type": "text/plain"})
    assert connection.getresponse().read()
    connection.request("GET", "/v1/plans")
    answer = connection.getresponse()
    assert (answer.status, "unauthorized" in answer.read().decode()) == (401, True)
    connection.close()


def test_incomplete_forms_with_invented_sessions_do_not_block_members(owner, stack):
    acme = owner("half")
    clients = []
    for number in range(600):
        clients.append(socket.create_connection(("127.0.0.1", stack.port_service), timeout=60))
        head = f"POST /sign-in HTTP/1.1\r\nHost: x\r\nCookie: keygauge_session={number}\r\nContent-Length: 9"
        clients[-1].sendall(f"{head}\r\n\r\nemail=".encode())
    try:
        assert [acme.get(path).status for path in ("/keys", "/usage")] == [200] * 2
    finally:
        for client in clients:
            client.close()
