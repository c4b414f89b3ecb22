"""OpenID Connect: the provider, what a sign-in must return with, and why it failed."""

from __future__ import annotations

from dataclasses import dataclass, field


class OidcError(Exception):
    """A sign-in that failed; `detail` is for the person."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Provider:
    """An identity provider, and our client there."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)  # None: a public client
    name: str = "Single sign-on"  # on the button


@dataclass(frozen=True)
class Attempt:
    """What the response must match; kept signed in the browser that started."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


NO_ATTEMPT = Attempt("", "", "")
