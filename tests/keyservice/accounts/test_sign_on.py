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
    """Go to the provider and come back: the address that the person has."""
    address, attempt = sign_on.begin(CALLBACK)
    back = requests.get(address, allow_redirects=False, timeout=100).headers["Location"]
    return sign_on.finish(attempt, CALLBACK, dict(parse_qsl(urlsplit(back).query)) | changes)


def refused(match, status=403):
    return pytest.raises(OidcError, match=match, check=lambda error: error.status == status)


def test_who_comes_back_has_an_address_that_the_provider_verified(idp, sign_on):
    assert come_back(sign_on) == EMAIL
    idp.tells_email = False  # but to those who ask for it
    assert come_back(sign_on) == EMAIL


@pytest.mark.parametrize("is_verified", [False, None, "true", 1])
def test_address_that_is_not_verified_counts_nothing(idp, sign_on, is_verified):
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
def test_id_token_that_is_not_ours_is_refused(idp, sign_on, claims):
    idp.claims = claims
    with refused("could not be verified"):
        come_back(sign_on)


def test_signature_of_another_key_is_refused_and_new_keys_are_fetched(idp, sign_on):
    assert come_back(sign_on) == EMAIL
    idp.key = RSAKey.generate_key(2048, {"kid": "1"})
    with refused("could not be verified"):
        come_back(sign_on)
    idp.key = idp.published_key = RSAKey.generate_key(2048, {"kid": "2"})
    assert come_back(sign_on) == EMAIL


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"error": "access_denied"}, "was canceled"),
        ({"code": "another"}, "could not be verified"),
        ({"iss": "https://evil.example"}, "a different provider"),
        ({"state": "another"}, "in another browser"),
        ({"state": ""}, "in another browser"),
    ],
)
def test_broken_off_or_wrong_answer_is_refused(sign_on, changes, told):
    with refused(told):
        come_back(sign_on, **changes)


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_unavailable(idp):
    for issuer in ("http://127.0.0.1:1", f"{idp.issuer}/"):
        with refused("Example is unavailable", status=503):
            SignOn(Provider(issuer, "keygauge", None, "Example")).begin(CALLBACK)
