"""OpenID Connect: who the provider is, what a sign-in must come back with, and why it did not come about."""

from __future__ import annotations

from dataclasses import dataclass, field


class OidcError(Exception):
    """A sign-in that did not come about; `detail` is for the person."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Provider:
    """Where people may sign in, and who we are there."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)  # None: a public client
    name: str = "Single sign-on"  # on the button


@dataclass(frozen=True)
class Attempt:
    """What must come back; the browser that began keeps it, signed."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


NO_ATTEMPT = Attempt("", "", "")
