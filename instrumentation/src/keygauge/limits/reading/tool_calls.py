"""The tools that a request calls by JSON-RPC, as in MCP: `tools/call` with the tool's name in `params`.

A body counts in every way an app may read it: all members with the name count, also repeated or in capitals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from keygauge.limits.reading.request_fields import Members

_CALL = "tools/call"
_LISTING = re.compile(  # MCP methods that call no tool
    r"initialize|ping|notifications/.+|(?:tools|prompts|resources|resources/templates)/list|prompts/get|"
    r"resources/(?:read|subscribe|unsubscribe)|completion/complete|logging/setLevel|tasks/(?:get|list|cancel)"
).fullmatch

_MESSAGE = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS = frozenset(  # of these methods, without what a model might read
    {
        *("_meta", "cursor", "protocolversion", "capabilities", "clientinfo", "uri", "level"),
        *("requestid", "reason", "progresstoken", "progress", "total", "taskid"),
    }
)


def tools_of(members: Sequence[tuple[str, object]]) -> tuple[str, ...] | None:
    """Return the tools that a message calls; None if it may call one that it does not name."""
    if not any(_is_call(method) for method in _all(members, "method")):
        return ()
    params = _all(members, "params")
    names = [name for one in params if isinstance(one, Members) for name in _all(one, "name")]
    tools = [name for name in names if isinstance(name, str)]
    is_told = tools and len(tools) == len(names) and all(isinstance(one, Members) for one in params)
    return tuple(dict.fromkeys(tools)) if is_told else None


def only_lists(members: Sequence[tuple[str, object]]) -> bool:
    """Return whether a message has only JSON-RPC methods that use no tokens, or none because it is a client's reply."""
    if not _all(members, "jsonrpc"):
        return False
    methods = _all(members, "method")
    is_reply = bool(_all(members, "result") or _all(members, "error"))
    return all(isinstance(method, str) and _LISTING(method) for method in methods) if methods else is_reply


def names_nothing(members: Sequence[tuple[str, object]]) -> bool:
    """Return whether a message that only lists has no other members than MCP's, so nothing that a model might read."""
    params = _all(members, "params")
    known = all(isinstance(one, Members) and {name.casefold() for name, _ in one} <= _PARAMS for one in params)
    return known and {name.casefold() for name, _ in members} <= _MESSAGE


def _all(members: Sequence[tuple[str, object]], wanted: str) -> list[object]:
    return [value for name, value in members if name.casefold() == wanted]


def _is_call(method: object) -> bool:
    return not isinstance(method, str) or method.strip().casefold() == _CALL
