"""Reasons to refuse a call: the outcome that is counted and the code that the caller sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keygauge.call import Outcome
from keygauge.limits.limit import Whose


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason to refuse a call: the counted outcome, the caller's code, which limit and whose, and when to retry.

    `since_s` is when a secret ended, in unix seconds. `is_zero`: the limit allows no calls at all.
    """

    outcome: Outcome
    code: str
    limit: str | None = None
    retry_after_s: float | None = None
    whose: Whose | None = None
    since_s: int | None = None
    is_zero: bool = False


MISSING = Refusal("unknown", "key_missing")
CONFLICT = Refusal("unknown", "key_conflict")
BAD_CAP = Refusal("limited", "bad_output_cap")
UNKNOWN = Refusal("unknown", "key_invalid")
TOO_MANY_KEYS = Refusal("unknown", "too_many_unknown_keys", retry_after_s=1)
DISABLED = Refusal("revoked", "key_disabled")
DELETED = Refusal("revoked", "key_deleted")
SUSPENDED = Refusal("revoked", "account_suspended")
REPLACED = Refusal("revoked", "key_replaced")
EXPIRED = Refusal("expired", "key_expired")
WRONG_IP = Refusal("forbidden", "ip_not_allowed")
WRONG_ROUTE = Refusal("forbidden", "endpoint_not_allowed")
WRONG_MODEL = Refusal("forbidden", "model_not_allowed")
WRONG_TOOL = Refusal("forbidden", "tool_not_allowed")
UNREADABLE = Refusal("forbidden", "request_unreadable")
UNAVAILABLE = Refusal("unavailable", "key_service_unavailable", retry_after_s=1)

# The same after a pause of the process, such as a suspended machine: the next heartbeat may be answered, so calls wait.
PAUSED = replace(UNAVAILABLE)
