"""OpenID Connect types: the provider, a sign-in attempt and its error."""

from __future__ import annotations

from dataclasses import dataclass, field


class OidcError(Exception):
    """A failed sign-in; `detail` is shown to the user."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Provider:
    """An identity provider and our client credentials for it."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)  # None: a public client
    name: str = "Single sign-on"  # the button's label


@dataclass(frozen=True)
class Attempt:
    """The values that the provider's response must match; kept in a signed cookie in the browser that started it."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


NO_ATTEMPT = Attempt("", "", "")
