"""Who may call: bearer tokens of operators and of the metered services' replicas."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g, request

from keygauge_keyservice.accounts.tokens import Kind, Scope
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.web.context import services

OPERATOR = "operator"  # the actor of changes made with the environment's admin token

_READS = frozenset(("GET", "HEAD"))
_WRITES: dict[Scope, frozenset[str]] = {  # the blueprints that a scope may change
    "read": frozenset(),
    "keys": frozenset(("api_keys", "api_key_limits")),
    "billing": frozenset(("api_billing", "api_prices")),
}

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Caller:
    """Whose token a request came with; `name` is None for those of the environment."""

    kind: Kind
    name: str | None = None
    scope: Scope = "all"


def operator_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let only an admin token call a view, as far as its scope goes."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require_scope(_require("admin"))
        return view(*args, **kwargs)

    return guarded


def replica_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let only a service token call a view."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require("service")
        return view(*args, **kwargs)

    return guarded


def require_any_token() -> None:
    """Let holders of an admin token or a service token go on.

    Raises:
        Problem: 401.
    """
    _require("admin", "service")


def actor() -> str:
    """Return who acts, for the audit log."""
    name = _caller().name
    return OPERATOR if name is None else f"token {name}"


def service() -> str | None:
    """Return the service that calls, or None where it has the environment's token."""
    return _caller().name


def _caller() -> Caller:
    caller: Caller = g.caller
    return caller


def _require(*kinds: Kind) -> Caller:
    caller = _find()
    if caller is None or caller.kind not in kinds:
        raise Problem(
            401,
            "unauthorized",
            "The bearer token is missing or wrong.",
            headers={"WWW-Authenticate": 'Bearer realm="keygauge"'},
        )
    g.caller = caller
    return caller


def _find() -> Caller | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    settings = services().settings
    # Both are compared, even where the scheme is wrong, so that the time tells nothing.
    is_admin = hmac.compare_digest(given.encode(), settings.admin_token.encode())
    is_service = hmac.compare_digest(given.encode(), settings.service_token.encode())
    if scheme.lower() != "bearer":
        return None
    if is_admin or is_service:
        return Caller("admin" if is_admin else "service")
    token = services().tokens.find(given)
    return None if token is None else Caller(token.kind, token.name, token.scope)


def _require_scope(caller: Caller) -> None:
    if request.method in _READS or caller.scope == "all" or request.blueprint in _WRITES[caller.scope]:
        return
    raise Problem(403, "token_scope", f"This token's scope is {caller.scope}: it may not change this.")
