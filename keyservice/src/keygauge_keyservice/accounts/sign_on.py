"""Sign-in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from keygauge_keyservice.accounts.members import is_email
from keygauge_keyservice.accounts.oidc import Attempt, OidcError, Provider
from keygauge_keyservice.texts import gettext

_SCOPE = "openid email"
_TIMEOUT_S = 5
_METADATA_S = 3600
_LEEWAY_S = 60  # for clock skew
# Asymmetric signatures only: not `none`, and not the HS family, whose key is the client secret.
_ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
_FAILURES = (AuthlibBaseError, JoseError, requests.RequestException, ValueError, KeyError, TypeError, AttributeError)


class SignOn:
    """A client of the provider: redirects users to it and identifies them when they return."""

    def __init__(self, provider: Provider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.provider = provider
        self._clock = clock
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._fetched_s = 0.0

    def begin(self, redirect_uri: str) -> tuple[str, Attempt]:
        """Return the provider's authorization URL, and the attempt to keep until the user returns.

        Raises:
            OidcError: the provider cannot be reached.
        """
        attempt = Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))
        try:
            address, _ = self._client(redirect_uri).create_authorization_url(
                self._read_metadata()["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        except _FAILURES as error:
            raise _unavailable(self.provider) from error
        return address, attempt

    def finish(self, attempt: Attempt, redirect_uri: str, arguments: Mapping[str, str]) -> str:
        """Return the verified e-mail address of a user returning from the provider.

        Raises:
            OidcError: the response does not match the attempt, is an error, cannot be verified, or has no verified
                address; or the provider cannot be reached.
        """
        if not attempt.state or not hmac.compare_digest(attempt.state.encode(), arguments.get("state", "").encode()):
            raise OidcError(
                403, gettext("This sign-in attempt has expired or was started in another browser. Try again.")
            )
        if "error" in arguments or "code" not in arguments:
            raise OidcError(403, gettext("The sign-in was canceled. Try again, or use your password."))
        if arguments.get("iss", self.provider.issuer) != self.provider.issuer:  # RFC 9207
            raise OidcError(403, gettext("The response came from a different provider. Try again."))
        client = self._client(redirect_uri)
        try:
            token = client.fetch_token(
                self._read_metadata()["token_endpoint"], code=arguments["code"], code_verifier=attempt.verifier
            )
            claims = self._claims(token, attempt.nonce)
            if "email" not in claims:  # some providers return it only from the userinfo endpoint
                user_info = client.get(self._metadata["userinfo_endpoint"]).json()
                if user_info["sub"] != claims["sub"]:
                    raise ValueError("the userinfo is another person's")
                claims |= {"email": user_info.get("email"), "email_verified": user_info.get("email_verified")}
        except requests.ConnectionError as error:
            raise _unavailable(self.provider) from error
        except _FAILURES as error:
            raise OidcError(403, gettext("The provider's response could not be verified. Try again.")) from error
        email = claims.get("email")
        if claims.get("email_verified") is not True or not isinstance(email, str) or not is_email(email):
            raise OidcError(
                403, gettext("Your e-mail address is not verified with the provider. Verify it there, then try again.")
            )
        return email

    def _client(self, redirect_uri: str) -> OAuth2Session:
        provider = self.provider
        return OAuth2Session(
            provider.client_id,
            provider.client_secret,
            token_endpoint_auth_method="client_secret_basic" if provider.client_secret else "none",
            scope=_SCOPE,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=_TIMEOUT_S,
        )

    def _claims(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token after checking its signature, issuer, audience, times and nonce."""
        try:
            decoded = jwt.decode(token["id_token"], self._read_keys(), algorithms=_ALGORITHMS)
        except (InvalidKeyIdError, BadSignatureError):  # the provider may have rotated its keys
            self._keys = None
            decoded = jwt.decode(token["id_token"], self._read_keys(), algorithms=_ALGORITHMS)
        provider = self.provider
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": provider.issuer},
                "aud": {"essential": True, "value": provider.client_id},
            },
            {"nonce": nonce, "client_id": provider.client_id, "access_token": token.get("access_token")},
        )
        claims.validate(leeway=_LEEWAY_S)
        return dict(claims)

    def _read_metadata(self) -> dict[str, Any]:
        now_s = self._clock()
        if not self._metadata or now_s - self._fetched_s > _METADATA_S:
            found = _fetch(f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found["issuer"] != self.provider.issuer:
                raise ValueError(f"the provider calls itself {found['issuer']!r}, not {self.provider.issuer!r}")
            self._metadata, self._keys, self._fetched_s = found, None, now_s
        return self._metadata

    def _read_keys(self) -> KeySet:
        if self._keys is None:
            self._keys = KeySet.import_key_set(_fetch(self._metadata["jwks_uri"]))  # type: ignore[arg-type]  # validated by the callee
        return self._keys


def _fetch(address: str) -> dict[str, Any]:
    answer = requests.get(address, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    document = answer.json()
    if not isinstance(document, dict):
        raise ValueError(f"{address} is not a JSON object")  # noqa: TRY004 - a bad response, not a wrong argument type
    return document


def _unavailable(provider: Provider) -> OidcError:
    return OidcError(
        503,
        gettext("%(provider)s is unavailable. Use your password, or try again in a moment.", provider=provider.name),
    )
