"""Answers to refused calls: RFC 9457 problem+json with a stable code."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import NamedTuple

from keygauge.limits.headers import Fields
from keygauge.limits.refusal import Refusal


class Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: Fields
    body: bytes


# code -> status, title, detail (what to do)
_KINDS = {
    "key_missing": (401, "API key missing", "Send your API key as 'Authorization: Bearer <key>' or in 'X-API-Key'."),
    "key_invalid": (401, "API key not accepted", "Check the key, or make a new one in the portal."),
    "key_disabled": (401, "API key disabled", "Enable this key in the portal, or use another one."),
    "key_expired": (401, "API key expired", "Use another key, or give this one a later expiry date in the portal."),
    "key_replaced": (401, "API key replaced", "The key was rotated, and this secret ended. Use the new one."),
    "key_deleted": (401, "API key deleted", "Use another key, or create a new one in the portal."),
    "account_suspended": (
        401,
        "Account suspended",
        "The account of this key is suspended. A new key won't help: contact the provider of this API.",
    ),
    "key_conflict": (400, "Two different API keys", "Send one API key, in one header."),
    "ip_not_allowed": (
        403,
        "Address not allowed",
        "This key can't be used from your address. Its owner can change that.",
    ),
    "endpoint_not_allowed": (
        403,
        "Endpoint not allowed",
        "This key can't call this endpoint. Its owner can change that.",
    ),
    "model_not_allowed": (
        403,
        "Model not allowed",
        "This key can't use this model, or the request names none. Its owner can change that.",
    ),
    "tool_not_allowed": (
        403,
        "Tool not allowed",
        "This key can't call this tool. Its owner can change that.",
    ),
    "request_unreadable": (
        400,
        "Request not readable",
        "This key has limits by model, tool, tokens or cost: send a JSON object or a form, uncompressed, up to 1 MiB.",
    ),
    "rate_limited": (429, "Rate limit reached", "Wait for the time in Retry-After, then try again."),
    "concurrency_limited": (
        429,
        "Too many requests at once",
        "Wait until one of your requests has finished, then try again.",
    ),
    "quota_exhausted": (429, "Quota used up", "Wait until the quota resets."),
    "budget_exhausted": (
        429,
        "Budget used up",
        "Wait until the budget resets.",
    ),
    "price_unknown": (
        403,
        "Model without a price",
        "Your budget only allows models with a known price: use one of those, or ask for a price to be set.",
    ),
    "request_exceeds_limit": (
        400,
        "Request larger than the limit",
        "This request exceeds the entire limit; retrying won't help. Ask for less output or send less input.",
    ),
    "bad_output_cap": (
        400,
        "Output cap not understood",
        "Set max_tokens (and n, if used) to integers above 0 that a model can produce.",
    ),
    "too_many_unknown_keys": (
        429,
        "Too many unknown API keys",
        "Your address sent too many keys that don't exist. Check your key and try again in a moment.",
    ),
    "key_service_unavailable": (503, "API keys can't be checked right now", "Try again in a moment."),
}
# owner of a limit -> what it counts, and what helps
_WHOSE = {
    "account": "counts all keys of your account together. A larger plan allows more.",
    "plan": "counts this key alone, as set by your plan. A larger plan allows more.",
    "key": "is this key's own. The account's owner can change it in the portal.",
    "tag": "counts this end user alone, as named by the request. Calls for others are not affected.",
    "untagged": "counts each end user alone, and all calls that name none together. Name the end user.",
}
_CHALLENGE = (b"www-authenticate", b'Bearer realm="api"')
_INVALID_CHALLENGE = (b"www-authenticate", b'Bearer realm="api", error="invalid_token"')
CORS = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*"))
_REPLACED_SINCE = "The key was rotated, and this secret ended on {:%Y-%m-%d at %H:%M} UTC. Use the new one."
_LIMITED = 429
_LONGEST_RETRY_S = 60  # SDKs sleep this long at most, so they must not retry after longer waits


def answer(refusal: Refusal, fields: Fields, *, is_cross_origin: bool = False, key_header: str | None = None) -> Answer:
    """Build the answer to a refused call; `fields` are its limits' header fields, `key_header` the only one for keys.

    Pages of other origins may read it: it only describes the outcome for the key that the page itself sent.
    """
    status, title, _ = _KINDS[refusal.code]
    detail = _detail(refusal, key_header)
    problem: dict[str, object] = {
        "type": f"urn:keygauge:problem:{refusal.code}",
        "title": title,
        "status": status,
        "detail": detail,
        "message": f"{title}. {detail}",  # the only member that OpenAI's SDK shows
        "code": refusal.code,
    }
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"), *fields]
    if is_cross_origin:
        headers += CORS
    if refusal.limit is not None:
        problem["limit"] = refusal.limit
    if refusal.whose is not None:
        problem["limit_of"] = refusal.whose
    if status == 401:  # noqa: PLR2004 - HTTP
        headers.append(_CHALLENGE if refusal.code == "key_missing" else _INVALID_CHALLENGE)
    if refusal.retry_after_s is not None:
        seconds = max(1, math.ceil(refusal.retry_after_s))
        problem["retry_after_s"] = seconds
        headers.append((b"retry-after", b"%d" % seconds))
    if status == _LIMITED and (refusal.retry_after_s is None or refusal.retry_after_s > _LONGEST_RETRY_S):
        headers.append((b"x-should-retry", b"false"))
    body = json.dumps(problem).encode()
    headers.append((b"content-length", b"%d" % len(body)))
    return Answer(status, headers, body)


def _detail(refusal: Refusal, key_header: str | None) -> str:
    """Return what to do."""
    status, _, detail = _KINDS[refusal.code]
    if key_header is not None and refusal.code == "key_missing":
        detail = f"Send your API key in '{key_header}'."
    elif refusal.is_zero:
        detail = "This limit is 0 and allows no calls."
    elif status == _LIMITED and refusal.retry_after_s is None:
        detail = "This limit does not reset."
    elif refusal.since_s is not None:
        detail = _REPLACED_SINCE.format(datetime.fromtimestamp(refusal.since_s, UTC))
    if refusal.whose is not None:
        detail = f'{detail} The limit "{refusal.limit}" {_WHOSE[refusal.whose]}'
    return detail
