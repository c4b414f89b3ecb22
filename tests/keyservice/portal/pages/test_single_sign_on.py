"""Sign-in through a real OpenID Connect provider, made with Authlib's server side and run beside the app."""

import logging
import re
import threading
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

from keygauge_keyservice.accounts import invitations, members
from keygauge_keyservice.accounts.oidc import Provider
from keygauge_keyservice.app import create_app

CLIENT_SECRET = "secret-of-the-client"
CALLBACK = "http://localhost/sign-in/sso/done"


class Client(ClientMixin):
    client_id = "keygauge"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return CALLBACK

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri == CALLBACK

    def check_client_secret(self, client_secret):
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code(SimpleNamespace, AuthorizationCodeMixin):
    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return None

    get_acr = get_amr = get_auth_time


class Idp:
    """A provider at which everybody is `email`; `claims` are put over those of the id token."""

    def __init__(self):
        self.email, self.is_verified, self.tells_email = "", True, True
        self.claims, self.codes, self.requests = {}, {}, []
        self.key = self.published_key = RSAKey.generate_key(2048, {"kid": "1"})
        self.issuer = ""
        self.app = Flask("idp")
        self._make_server()
        self.app.add_url_rule("/.well-known/openid-configuration", view_func=self.metadata)
        self.app.add_url_rule("/jwks", view_func=self.jwks)
        self.app.add_url_rule("/userinfo", view_func=self.userinfo)

    def metadata(self):
        paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "userinfo_endpoint": "/userinfo"}
        return jsonify(
            {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
            | {name: self.issuer + path for name, path in paths.items()}
        )

    def jwks(self):
        return jsonify(KeySet([self.published_key]).as_dict(private=False))

    def userinfo(self):
        assert request.headers["Authorization"].startswith("Bearer ")
        return jsonify({"sub": "7", "email": self.email, "email_verified": self.is_verified})

    def told(self):
        told = {"email": self.email, "email_verified": self.is_verified} if self.tells_email else {}
        return {"sub": "7", **told, **self.claims}

    def _make_server(self):
        server = AuthorizationServer(
            self.app, lambda client_id: Client() if client_id == "keygauge" else None, lambda token, request: None
        )
        server.register_grant(make_grant(self), [make_open_id(self), CodeChallenge(required=True)])

        @self.app.get("/authorize")
        def authorize():
            self.requests.append(dict(request.args))
            grant = server.get_consent_grant()
            return server.create_authorization_response(grant_user=SimpleNamespace(id="7"), grant=grant)

        self.app.add_url_rule("/token", view_func=server.create_token_response, methods=["POST"])


def make_grant(idp):
    class Grant(AuthorizationCodeGrant):
        def save_authorization_code(self, code, request):
            payload = request.payload
            kept = {name: payload.data.get(name) for name in ("nonce", "code_challenge", "code_challenge_method")}
            idp.codes[code] = Code(code=code, redirect_uri=payload.redirect_uri, scope=payload.scope, **kept)

        def query_authorization_code(self, code, client):
            return idp.codes.get(code)

        def delete_authorization_code(self, authorization_code):
            del idp.codes[authorization_code.code]

        def authenticate_user(self, authorization_code):
            return SimpleNamespace(id="7")

    return Grant


def make_open_id(idp):
    class OpenId(OpenIDCode):
        def resolve_client_private_key(self, client):
            return idp.key

        def get_client_algorithm(self, client):
            return "RS256"

        def get_client_claims(self, client):
            return {"iss": idp.issuer}

        def exists_nonce(self, nonce, request):
            return any(code.nonce == nonce for code in idp.codes.values())

        def generate_user_info(self, user, scope):
            return idp.told()

    return OpenId(require_nonce=True)


@pytest.fixture
def idp(monkeypatch):
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # loopback
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    idp = Idp()
    server = make_server("127.0.0.1", 0, idp.app, threaded=True)
    idp.issuer = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield idp
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(settings, idp):
    return replace(settings, oidc=Provider(idp.issuer, "keygauge", CLIENT_SECRET, "Example"))


def leave(visitor, address="/sign-in/sso", **options):
    """Go to the provider, and return the address it sends back to."""
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


def test_member_comes_in_and_gets_the_page_that_was_asked_for(idp, visitor, customer):
    idp.email = customer.member.email.upper()
    page = visitor.get("/sign-in?next=/usage?range%3D7d").text
    address = re.search(r'href="(/sign-in/sso[^"]*)">Sign in with Example', page)[1]
    answer = come_back(visitor, leave(visitor, address))
    assert (answer.status_code, answer.location) == (303, "/usage?range=7d")
    assert is_signed_in(visitor)
    (asked,) = idp.requests
    assert (asked["response_type"], asked["scope"], asked["code_challenge_method"]) == ("code", "openid email", "S256")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


def test_address_may_be_told_by_the_userinfo_only(idp, visitor, customer):
    idp.email, idp.tells_email = customer.member.email, False
    assert come_back(visitor, leave(visitor)).status_code == 303
    assert is_signed_in(visitor)


def test_who_is_no_member_stays_outside(idp, visitor, customer):
    idp.email = "nobody@example.com"
    answer = come_back(visitor, leave(visitor))
    assert answer.status_code == 403
    assert "nobody@example.com is not a member" in answer.text
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("is_verified", [False, None, "true", 1])
def test_address_that_is_not_verified_counts_nothing(idp, visitor, customer, is_verified):
    idp.email, idp.is_verified = customer.member.email, is_verified
    assert come_back(visitor, leave(visitor)).status_code == 403
    assert not is_signed_in(visitor)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": ["somebody-else"]},
        {"aud": ["keygauge", "somebody-else"], "azp": "somebody-else"},
        {"nonce": "another"},
        {"exp": 1_000_000_000},
        {"iat": 4_000_000_000},
        {"at_hash": "wrong"},
    ],
)
def test_id_token_that_is_not_ours_is_refused(idp, visitor, customer, claims):
    idp.email, idp.claims = customer.member.email, claims
    answer = come_back(visitor, leave(visitor))
    assert answer.status_code == 403
    assert "could not be verified" in answer.text
    assert not is_signed_in(visitor)


def test_signature_of_another_key_is_refused(idp, visitor, customer):
    idp.email, idp.key = customer.member.email, RSAKey.generate_key(2048, {"kid": "1"})
    assert come_back(visitor, leave(visitor)).status_code == 403
    assert not is_signed_in(visitor)


def test_new_keys_of_the_provider_are_fetched(idp, visitor, customer):
    idp.email = customer.member.email
    assert come_back(visitor, leave(visitor)).status_code == 303
    visitor.client.delete_cookie("keygauge_session")
    idp.key = idp.published_key = RSAKey.generate_key(2048, {"kid": "2"})
    assert come_back(visitor, leave(visitor)).status_code == 303


def test_answer_of_another_browser_is_refused(app, idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    other = type(visitor)(app.test_client())
    for state in ("", "x", dict(parse_qsl(urlsplit(location).query))["state"]):  # it has no cookie, or one of its own
        answer = come_back(other, location, state=state)
        assert (answer.status_code, "was started in another browser" in answer.text) == (403, True)
    leave(other)
    assert come_back(other, location).status_code == 403
    assert not is_signed_in(other)


def test_answer_works_once(idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    assert come_back(visitor, location).status_code == 303
    visitor.client.delete_cookie("keygauge_session")
    assert come_back(visitor, location).status_code == 403


def test_forged_cookie_is_refused(idp, visitor, customer):
    idp.email = customer.member.email
    location = leave(visitor)
    cookie = visitor.client.get_cookie("keygauge_sso")
    visitor.client.set_cookie("keygauge_sso", cookie.value[:-4] + "AAAA")
    assert come_back(visitor, location).status_code == 403


@pytest.mark.parametrize("changes", [{"error": "access_denied"}, {"code": "another"}, {"iss": "https://evil.example"}])
def test_broken_off_or_wrong_answer_is_refused(idp, visitor, customer, changes):
    idp.email = customer.member.email
    assert come_back(visitor, leave(visitor), **changes).status_code == 403
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_sign_in_leads_to_no_other_site(idp, visitor, customer, target):
    idp.email = customer.member.email
    assert come_back(visitor, leave(visitor, f"/sign-in/sso?next={target}")).location == "/"


def test_provider_that_is_away_leaves_the_password(settings, visitor, customer, connection):
    app = create_app(replace(settings, oidc=Provider("http://127.0.0.1:1", "keygauge", None, "Example")))
    other = type(visitor)(app.test_client())
    answer = other.get("/sign-in/sso")
    assert (answer.status_code, "is unavailable" in answer.text) == (503, True)
    assert other.sign_in(customer).status_code == 303
    app.extensions["keygauge"].close()


@pytest.fixture
def hijack(connection, make_customer):
    """An account whose owner invited a stranger's address and accepted that himself."""
    attacker = make_customer("Evil")

    def hijack(email):
        _, link = invitations.create(
            connection, account_id=attacker.account.id, email=email, role="viewer", actor=attacker.member.email
        )
        return invitations.accept(connection, link, "chosen by the attacker")

    return hijack


def test_nobody_is_led_into_an_account_that_took_the_address(idp, visitor, hijack):
    hijack("victim@example.com")
    idp.email = "victim@example.com"
    assert come_back(visitor, leave(visitor)).status_code == 403
    assert not is_signed_in(visitor)


def test_an_address_that_was_taken_is_invited_elsewhere_and_comes_in(idp, visitor, hijack, connection, customer):
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


def test_a_strangers_link_joins_no_account(idp, visitor, connection, customer):
    _, link = invitations.create(
        connection, account_id=customer.account.id, email="victim@example.com", role="member", actor="evil"
    )
    idp.email = "victim@example.com"
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Referer": "https://evil.example/"}, {}):
        location = leave(visitor, f"/sign-in/sso?invitation={link}", headers=headers)
        assert come_back(visitor, location).status_code == 403
    assert members.list_memberships(connection, "victim@example.com") == []


def test_an_invitation_for_another_address_is_not_accepted(idp, visitor, connection, customer):
    _, link = invitations.create(
        connection, account_id=customer.account.id, email="victim@example.com", role="member", actor="op"
    )
    idp.email = "thief@example.com"
    location = leave(visitor, f"/sign-in/sso?invitation={link}", headers={"Sec-Fetch-Site": "same-origin"})
    assert come_back(visitor, location).status_code == 403
    assert invitations.find(connection, link) is not None


def test_a_password_member_connects_single_sign_on_once(idp, visitor, hijack, app):
    member = hijack("victim@example.com")  # here the victim chose the password
    idp.email = member.email
    form = {"email": member.email, "password": "chosen by the attacker"}
    assert visitor.client.post("/sign-in", data=form).status_code == 303
    assert come_back(visitor, leave(visitor)).status_code == 303
    other = type(visitor)(app.test_client())
    assert come_back(other, leave(other)).status_code == 303


def test_operator_comes_in_too(idp, visitor, connection):
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


def test_nothing_secret_is_in_the_repr(settings):
    assert CLIENT_SECRET not in repr(settings)
