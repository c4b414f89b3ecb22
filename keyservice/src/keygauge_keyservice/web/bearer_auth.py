"""Authentication by bearer token, for operators, accounts and the metered services' replicas."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g, request

from keygauge_keyservice.accounts.token_book import is_of_account
from keygauge_keyservice.accounts.tokens import Kind, Scope, Token, digest
from keygauge_keyservice.errors import Problem, not_found
from keygauge_keyservice.web.confinement import confine
from keygauge_keyservice.web.context import Context, services

OPERATOR = "operator"  # the actor of changes made with the environment's admin token

_READS = frozenset(("GET", "HEAD"))
_QUESTIONS = frozenset(("api_usage_query",))  # POST, but they only read
_EVERY_WRITE = frozenset(("all", "manage"))  # `manage` is for account tokens, which only reach their account's views
_WRITES: dict[Scope, frozenset[str]] = {  # the blueprints that a scope may change
    "read": frozenset(),
    "keys": frozenset(("api_keys", "api_key_limits")),
    "billing": frozenset(("api_billing", "api_prices")),
}

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Caller:
    """The caller, by its token; `name` is None for the environment's tokens."""

    kind: Kind
    name: str | None = None
    scope: Scope = "all"
    account_id: str | None = None  # to which it is confined


def operator_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Allow a view for admin tokens only, within their scope."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require_scope(_require("admin"))
        return view(*args, **kwargs)

    return guarded


def owners_too(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Allow a view for admin tokens, and for an account's token if the path names only the account's own resources.

    Account ids from outside the path must go through `own_account`.
    """

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        caller = _require("admin", "account")
        _require_scope(caller)
        if caller.account_id is not None and request.view_args:
            with services().connection() as connection:
                confine(connection, caller.account_id, request.view_args)
        return view(*args, **kwargs)

    return guarded


def own_account(given: str | None) -> str | None:
    """Return the account of a request: the one that an operator requests, or the token's own.

    Raises:
        Problem: 404 if a token requests another account than its own.
    """
    own = _caller().account_id
    if own is None:
        return given
    if given not in {None, own}:
        raise not_found("account", str(given))
    return own


def is_operator() -> bool:
    """Return whether the caller is an operator, who may lift operators' restrictions."""
    return _caller().account_id is None


def replica_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Allow a view for service tokens only."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require("service")
        return view(*args, **kwargs)

    return guarded


def require_reader() -> None:
    """Require a token that may read metrics of all accounts: for metrics, of an operator, or the environment's.

    Raises:
        Problem: 401.
    """
    caller = _require("metrics", "admin", "service")
    if caller.kind == "service" and caller.name is not None:
        raise _unauthorized()


def actor() -> str:
    """Return the actor for the audit log."""
    caller = _caller()
    if caller.name is None:
        return OPERATOR
    return f"token {caller.name}" if caller.account_id is None else f"account token {caller.name}"


def service() -> str | None:
    """Return the calling service's name, or None if it uses the environment's token."""
    return _caller().name


def find_service(context: Context, given: str) -> Caller | None:
    """Return the service that a token belongs to, if that is known without the database and without waiting."""
    if hmac.compare_digest(given.encode(), context.settings.service_token.encode()):
        return Caller("service")
    token = context.tokens.find_cached(given)
    return Caller("service", token.name) if token is not None and token.kind == "service" else None


def _caller() -> Caller:
    caller: Caller = g.caller
    return caller


def _require(*kinds: Kind) -> Caller:
    callers = _callers()
    caller = next((one for one in callers if one.kind in kinds), None)
    if caller is None:
        if "admin" in kinds and any(one.kind == "account" for one in callers):
            raise Problem(403, "token_scope", "Only operators can do this, and this is an account's token.")
        raise _unauthorized()
    g.caller = caller
    return caller


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        "The bearer token is missing or incorrect.",
        headers={"WWW-Authenticate": 'Bearer realm="keygauge"'},
    )


def _callers() -> list[Caller]:
    """Return the callers that a token may be: both kinds if the environment uses one token for both."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    settings = services().settings
    known: dict[Kind, str] = {"admin": settings.admin_token, "service": settings.service_token}
    # Compare all of them, even with the wrong scheme, so that the time reveals nothing.
    found = [Caller(kind) for kind, token in known.items() if hmac.compare_digest(given.encode(), token.encode())]
    if scheme.lower() != "bearer":
        return []
    if not found and (token := _find(given)) is not None:
        found = [Caller(token.kind, token.name, token.scope, token.account_id)]
    return found


def _find(given: str) -> Token | None:
    """Return the valid token that was given; account tokens may be looked up, at a limited rate.

    Raises:
        Problem: 429 if this address sent too many unknown credentials.
    """
    token = services().tokens.find(given)
    if token is not None or not is_of_account(given):
        return token
    guesses, hashed = services().guesses, digest(given).hex()
    guesses.admit(request.remote_addr, hashed)
    token = services().tokens.look_up(given)
    if token is None:
        guesses.count(request.remote_addr, hashed)
    else:
        guesses.keep(hashed)
    return token


def _require_scope(caller: Caller) -> None:
    if (
        request.method in _READS
        or request.blueprint in _QUESTIONS
        or caller.scope in _EVERY_WRITE
        or request.blueprint in _WRITES[caller.scope]
    ):
        return
    raise Problem(403, "token_scope", f"This token's scope is {caller.scope}: it can't change this.")
