from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from joserfc.jwk import RSAKey
from openid import CALLBACK, CLIENT_SECRET

from keygauge_keyservice.accounts.oidc import OidcError, Provider
from keygauge_keyservice.accounts.sign_on import SignOn

EMAIL = "ada@acme.example"


@pytest.fixture
def sign_on(idp):
    idp.email = EMAIL
    return SignOn(Provider(idp.issuer, "keygauge", CLIENT_SECRET, "Example"))


def come_back(sign_on, **changes):
    """Go to the provider and back, and return the user's address."""
    address, attempt = sign_on.begin(CALLBACK)
    back = requests.get(address, allow_redirects=False, timeout=100).headers["Location"]
    return sign_on.finish(attempt, CALLBACK, dict(parse_qsl(urlsplit(back).query)) | changes)


def refused(match, status=403):
    return pytest.raises(OidcError, match=match, check=lambda error: error.status == status)


def test_sign_in_returns_the_verified_address(idp, sign_on):
    assert come_back(sign_on) == EMAIL
    idp.email_in_id_token = False  # only from the userinfo endpoint
    assert come_back(sign_on) == EMAIL


@pytest.mark.parametrize("is_verified", [False, None, "true", 1])
def test_an_unverified_address_is_rejected(idp, sign_on, is_verified):
    idp.is_verified = is_verified
    with refused("not verified with the provider"):
        come_back(sign_on)


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
def test_an_id_token_with_wrong_claims_is_rejected(idp, sign_on, claims):
    idp.claims = claims
    with refused("could not be verified"):
        come_back(sign_on)


def test_a_wrong_signature_is_rejected_and_new_keys_are_fetched(idp, sign_on):
    assert come_back(sign_on) == EMAIL
    idp.key = RSAKey.generate_key(2048, {"kid": "1"})
    with refused("could not be verified"):
        come_back(sign_on)
    idp.key = idp.published_key = RSAKey.generate_key(2048, {"kid": "2"})
    assert come_back(sign_on) == EMAIL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error": "access_denied"}, "was canceled"),
        ({"code": "another"}, "could not be verified"),
        ({"iss": "https://evil.example"}, "a different provider"),
        ({"state": "another"}, "in another browser"),
        ({"state": ""}, "in another browser"),
    ],
)
def test_a_canceled_or_invalid_response_is_rejected(sign_on, changes, message):
    with refused(message):
        come_back(sign_on, **changes)


def test_an_unreachable_provider_or_wrong_issuer_is_unavailable(idp):
    for issuer in ("http://127.0.0.1:1", f"{idp.issuer}/"):
        with refused("Example is unavailable", status=503):
            SignOn(Provider(issuer, "keygauge", None, "Example")).begin(CALLBACK)
