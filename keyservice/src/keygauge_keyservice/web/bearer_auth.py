"""Who may call: bearer tokens of operators and of the metered services' replicas."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import request

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.web.context import services

OPERATOR = "operator"  # the actor of changes made with the admin token

_P = ParamSpec("_P")
_R = TypeVar("_R")


def operator_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let only the admin token call a view."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require(services().settings.admin_token)
        return view(*args, **kwargs)

    return guarded


def replica_only(view: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let only the service token call a view."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _require(services().settings.service_token)
        return view(*args, **kwargs)

    return guarded


def require_any_token() -> None:
    """Let holders of the admin token or the service token go on.

    Raises:
        Problem: 401.
    """
    _require(services().settings.admin_token, services().settings.service_token)


def _require(*tokens: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # All are compared, even where the scheme is wrong, so that the time tells nothing.
    matches = [hmac.compare_digest(given.encode(), token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise Problem(
            401,
            "unauthorized",
            "The bearer token is missing or wrong.",
            headers={"WWW-Authenticate": 'Bearer realm="keygauge"'},
        )
