"""Sign-in with a real OpenID Connect provider that runs next to the app."""

import re
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from openid import CLIENT_SECRET

from keygauge_keyservice.accounts import invitations, members
from keygauge_keyservice.accounts.oidc import Provider
from keygauge_keyservice.app import create_app


@pytest.fixture
def settings(settings, idp):
    return replace(settings, oidc=Provider(idp.issuer, "keygauge", CLIENT_SECRET, "Example"))


def leave(visitor, address="/sign-in/sso", **options):
    """Start signing in at the provider and return the address that it redirects to."""
    begun = visitor.get(address, **options)
    assert begun.status_code == 303
    back = requests.get(begun.location, allow_redirects=False, timeout=100)
    assert back.status_code == 302, back.text
    return back.headers["Location"]


def come_back(visitor, location, **changes):
    parts = urlsplit(location)
    return visitor.get(parts.path, query_string=dict(parse_qsl(parts.query)) | changes)


def is_signed_in(visitor):
    return visitor.get("/keys").status_code == 200


def test_member_signs_in_and_gets_the_requested_page(idp, visitor, customer):
    idp.email = customer.member.email.upper()
    page = visitor.get("/sign-in?next=/usage?range%3D7d").text
    address = re.search(r'href="(/sign-in/sso[^"]*)">Sign in with Example', page)[1]
    answer = come_back(visitor, leave(visitor, address))
    assert (answer.status_code, answer.location) == (303, "/usage?range=7d")
    assert is_signed_in(visitor)
    (sent,) = idp.requests
    assert (sent["response_type"], sent["scope"], sent["code_challenge_method"]) == ("code", "openid email", "S256")
    assert min(len(sent[name]) for name in ("state", "nonce", "code_challenge")) >= 43


def test_non_member_is_not_signed_in(idp, visitor, customer):
    idp.email = "nobody@example.com"
    answer = come_back(visitor, leave(visitor))
    assert answer.status_code == 403
    assert "nobody@example.com is not a member" in answer.text
    assert not is_signed_in(visitor)


def test_unverifiable_response_shows_an_error_page(idp, visitor, customer):
    idp.email, idp.claims = customer.member.email, {"nonce": "another"}
    answer = come_back(visitor, leave(visitor))
    assert (answer.status_code, "could not be verified" in answer.text) == (403, True)
    assert not is_signed_in(visitor)


def test_response_in_another_browser_is_rejected(app, idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    other = type(visitor)(app.test_client())
    for state in ("", "x", dict(parse_qsl(urlsplit(location).query))["state"]):  # without a cookie
        answer = come_back(other, location, state=state)
        assert (answer.status_code, "was started in another browser" in answer.text) == (403, True)
    leave(other)
    assert come_back(other, location).status_code == 403
    assert not is_signed_in(other)


def test_response_works_once(idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    assert come_back(visitor, location).status_code == 303
    visitor.client.delete_cookie("keygauge_session")
    assert come_back(visitor, location).status_code == 403


def test_forged_cookie_is_rejected(idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    cookie = visitor.client.get_cookie("keygauge_sso")
    visitor.client.set_cookie("keygauge_sso", cookie.value[:-4] + "AAAA")
    assert come_back(visitor, location).status_code == 403


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_sign_in_does_not_redirect_to_other_sites(idp, visitor, customer, target):
    idp.email = customer.member.email
    assert come_back(visitor, leave(visitor, f"/sign-in/sso?next={target}")).location == "/"


def test_password_works_if_the_provider_is_unavailable(settings, visitor, customer, connection):
    app = create_app(replace(settings, oidc=Provider("http://127.0.0.1:1", "keygauge", None, "Example")))
    other = type(visitor)(app.test_client())
    answer = other.get("/sign-in/sso")
    assert (answer.status_code, "is unavailable" in answer.text) == (503, True)
    assert other.sign_in(customer).status_code == 303
    app.extensions["keygauge"].close()


@pytest.fixture
def hijack(connection, make_customer):
    """`hijack(email)` makes an attacker invite someone else's address and accept the invitation."""
    attacker = make_customer("Evil")

    def hijack(email):
        _, link = invitations.create(
            connection, account_id=attacker.account.id, email=email, role="viewer", actor=attacker.member.email
        )
        return invitations.accept(connection, link, "chosen by the attacker")

    return hijack


def test_victim_is_not_signed_in_to_an_account_that_hijacked_their_address(idp, visitor, hijack):
    hijack("victim@example.com")
    idp.email = "victim@example.com"
    assert come_back(visitor, leave(visitor)).status_code == 403
    assert not is_signed_in(visitor)


def test_hijacked_address_can_join_another_account(idp, visitor, hijack, connection, customer):
    hijack("victim@example.com")
    _, link = invitations.create(
        connection, account_id=customer.account.id, email="victim@example.com", role="member", actor="op"
    )
    assert "Accept with" in visitor.get(f"/invitation/{link}").text
    idp.email = "victim@example.com"
    with_consent = {"headers": {"Sec-Fetch-Site": "same-origin"}}
    location = leave(visitor, f"/sign-in/sso?invitation={link}", **with_consent)
    assert come_back(visitor, location).status_code == 303
    assert customer.account.name in visitor.get("/").text
    visitor.client.delete_cookie("keygauge_session")
    assert come_back(visitor, leave(visitor)).status_code == 303
    assert customer.account.name in visitor.get("/").text


def test_invitation_link_from_another_site_joins_no_account(idp, visitor, connection, customer):
    _, link = invitations.create(
        connection, account_id=customer.account.id, email="victim@example.com", role="member", actor="evil"
    )
    idp.email = "victim@example.com"
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Referer": "https://evil.example/"}, {}):
        location = leave(visitor, f"/sign-in/sso?invitation={link}", headers=headers)
        assert come_back(visitor, location).status_code == 403
    assert members.list_memberships(connection, "victim@example.com") == []


def test_invitation_for_another_address_is_not_accepted(idp, visitor, connection, customer):
    _, link = invitations.create(
        connection, account_id=customer.account.id, email="victim@example.com", role="member", actor="op"
    )
    idp.email = "thief@example.com"
    location = leave(visitor, f"/sign-in/sso?invitation={link}", headers={"Sec-Fetch-Site": "same-origin"})
    assert come_back(visitor, location).status_code == 403
    assert invitations.find(connection, link) is not None


def test_member_with_a_password_connects_single_sign_on_once(idp, visitor, hijack, app):
    member = hijack("victim@example.com")  # here the victim chose the password
    idp.email = member.email
    form = {"email": member.email, "password": "chosen by the attacker"}
    assert visitor.client.post("/sign-in", data=form).status_code == 303
    assert come_back(visitor, leave(visitor)).status_code == 303
    other = type(visitor)(app.test_client())
    assert come_back(other, leave(other)).status_code == 303


def test_operator_signs_in(idp, visitor, connection):
    members.create(
        connection,
        account_id=None,
        email="op@example.com",
        password="the operator's password",
        role="operator",
        actor="t",
    )
    idp.email = "op@example.com"
    come_back(visitor, leave(visitor))
    assert visitor.get("/operator").status_code == 200


def test_repr_contains_no_secrets(settings):
    assert CLIENT_SECRET not in repr(settings)
