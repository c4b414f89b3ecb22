"""Attacks on single sign-on, with a served key service and a provider whose tokens are signed, or forged."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from browser import PASSWORD, Browser
from identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from joserfc.jwk import RSAKey
from stack import Stack, fresh_database

from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, members, plans

pytestmark = [
    pytest.mark.skipif("sys.platform != 'linux'", reason="other systems have one loopback address only"),
]

PUBLIC = "https://keys.acme.example"
EMAIL, VICTIM = "kim.strasser@acme.example", "victim@acme.example"


def signed_by_hash(secret):
    """Return a function that signs with HS256, using any bytes as the secret."""

    def sign(header, claims):
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
        text = b".".join(parts)
        digest = hmac.new(secret, text, hashlib.sha256).digest() if secret else b""
        return (text + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()

    return sign


@pytest.fixture(scope="module")
def provider():
    provider = IdentityProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def stack(postgresql, _template, tmp_path_factory, provider):
    with fresh_database(postgresql, _template) as url:
        stack = Stack(url, tmp_path_factory.mktemp("sign_on"))
        with database.connect(url) as connection:
            plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
            account = accounts.create(connection, name="Acme", plan_id="pro", actor="test")
            for email in (EMAIL, VICTIM):
                made = {"account_id": account.id, "email": email, "password": PASSWORD, "role": "owner"}
                members.create(connection, **made, actor="test")
        try:
            stack.start_service(
                KEYGAUGE_PUBLIC_URL=PUBLIC,
                KEYGAUGE_OIDC_ISSUER=provider.issuer,
                KEYGAUGE_OIDC_CLIENT_ID=CLIENT_ID,
                KEYGAUGE_OIDC_CLIENT_SECRET=CLIENT_SECRET,
                AUTHLIB_INSECURE_TRANSPORT="1",  # loopback
            )
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def browser(stack, provider):
    """`browser()` returns a new one; the provider knows the owner, and is honest until changed."""
    provider.reset()
    provider.email = EMAIL
    return lambda: Browser(stack.port_service)


def leave(browser, **options):
    """Start a sign-in; return the URL of the redirect to the provider."""
    begun = browser.get("/sign-in/sso", **options)
    assert begun.status == 303, begun.text
    return begun.headers["Location"]


def come_back(browser, query, **options):
    return browser.get(f"/sign-in/sso/done?{query}", **options).status


def is_signed_in(browser):
    return browser.get("/keys").status == 200


def sign_in(browser, provider):
    return come_back(browser, provider.authorize(leave(browser)))


def test_an_honest_provider_signs_people_in(browser, provider):
    visitor = browser()
    assert (sign_in(visitor, provider), is_signed_in(visitor)) == (303, True)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": [CLIENT_ID, "somebody-else"], "azp": "somebody-else"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": [EMAIL]},
        {"email": f"{EMAIL}\0@evil.example"},
        {"email": f"{EMAIL}, other@evil.example"},
        {"email": f"{EMAIL}\u3000"},
        {"email": EMAIL.replace("k", "\u212a")},  # the Kelvin sign, whose lower case is k
        {"email": EMAIL.replace("ss", "\u00df")},
    ],
    ids=ascii,
)
def test_signed_tokens_with_invalid_claims_are_refused(browser, provider, claims):
    provider.claims = claims
    visitor = browser()
    assert (sign_in(visitor, provider), is_signed_in(visitor)) == (403, False)


def public_pem(provider):
    return provider.published.as_pem(private=False)


@pytest.mark.parametrize(
    ("alg", "secret"),
    [
        ("none", lambda _: None),
        ("NonE", lambda _: None),
        ("HS256", public_pem),
        ("HS256", lambda provider: json.dumps(provider.published.as_dict(private=False)).encode()),
        ("HS256", lambda _: CLIENT_SECRET.encode()),
        ("HS256", lambda _: b""),
        ("RS256", public_pem),
    ],
)
def test_tokens_not_signed_by_the_provider_are_refused(browser, provider, alg, secret):
    provider.header = {"alg": alg}
    provider.sign = signed_by_hash(secret(provider))
    visitor = browser()
    assert (sign_in(visitor, provider), is_signed_in(visitor)) == (403, False)


@pytest.mark.parametrize("names", ["kid", "jwk", "jku", "no kid"])
def test_keys_named_in_a_token_are_not_trusted(browser, provider, names):
    provider.key = RSAKey.generate_key(2048, {"kid": "1" if names == "kid" else "evil"})
    if names == "jwk":
        provider.header = {"jwk": provider.key.as_dict(private=False)}
    if names == "jku":
        provider.documents["/evil"] = lambda: {"keys": [provider.key.as_dict(private=False)]}
        provider.header = {"jku": f"{provider.issuer}/evil"}
    if names == "no kid":
        provider.header = {"kid": ""}
    visitor = browser()
    assert (sign_in(visitor, provider), is_signed_in(visitor)) == (403, False)


def test_rotated_provider_keys_apply_at_once_and_old_ones_are_refused(browser, provider):
    assert sign_in(browser(), provider) == 303
    old = provider.key
    provider.rotate("2")
    assert sign_in(browser(), provider) == 303
    provider.key = old
    assert sign_in(browser(), provider) == 403


def test_userinfo_of_another_person_is_refused(browser, provider):
    provider.claims, provider.userinfo = {"email": None, "email_verified": None}, {"sub": "8"}
    assert sign_in(browser(), provider) == 403
    provider.userinfo = {}
    assert sign_in(browser(), provider) == 303


def test_answers_to_another_attempt_are_refused(browser, provider):
    attacker, victim = browser(), browser()
    planted = provider.authorize(leave(attacker))
    assert come_back(victim, planted) == 403  # it has no attempt
    begun = dict(parse_qsl(urlsplit(leave(victim)).query))
    assert come_back(victim, planted) == 403  # it has another attempt
    victim = browser()
    begun = dict(parse_qsl(urlsplit(leave(victim)).query))
    injected = dict(parse_qsl(planted)) | {"state": begun["state"]}
    assert come_back(victim, urlencode(injected)) == 403  # the code belongs to the attacker's attempt
    assert not is_signed_in(victim)


def test_an_answer_works_only_once(browser, provider):
    visitor = browser()
    query = provider.authorize(leave(visitor))
    cookies = dict(visitor.cookies)
    assert come_back(visitor, query) == 303
    thief = browser()
    thief.cookies = cookies  # copied before the answer
    assert (come_back(thief, query), is_signed_in(thief)) == (403, False)


@pytest.mark.parametrize("changes", [{"iss": "https://evil.example"}, {"iss": ""}, {"state": ""}, {"code": ""}])
def test_modified_answers_are_refused(browser, provider, changes):
    visitor = browser()
    query = dict(parse_qsl(provider.authorize(leave(visitor)))) | changes
    assert (come_back(visitor, urlencode(query)), is_signed_in(visitor)) == (403, False)


def test_redirects_use_the_public_url_despite_forged_hosts(browser, provider):
    visitor = browser()
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    address = leave(visitor, headers=evil)
    assert dict(parse_qsl(urlsplit(address).query))["redirect_uri"] == f"{PUBLIC}/sign-in/sso/done"
    answer = visitor.get(f"/sign-in/sso/done?{provider.authorize(address)}", headers=evil)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_a_changed_email_address_gives_access_by_the_new_one_only(browser, provider):
    visitor = browser()
    assert sign_in(visitor, provider) == 303
    provider.email = "new@acme.example"
    other = browser()
    assert (sign_in(other, provider), is_signed_in(other)) == (403, False)
    provider.email, provider.claims = VICTIM, {"email_verified": False}
    assert (sign_in(other, provider), is_signed_in(other)) == (403, False)


def test_a_hostile_provider_causes_no_server_error(browser, provider):
    for sign in (lambda *_: "", lambda *_: "a.b.c", lambda *_: None, lambda *_: "x" * 1_000_000, lambda *_: 7):
        provider.sign = sign
        assert sign_in(browser(), provider) == 403
