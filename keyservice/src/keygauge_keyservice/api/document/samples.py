"""Code samples for operators' and owners' operations, in curl, Python and JavaScript, generated from one description.

They are in the document as `x-codeSamples`, which OpenAPI viewers show; the tests run them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

_DAY_S = 86_400
_RPM = {"name": "rpm", "unit": "request", "amount": 600, "window_s": 60}
_MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 20_000, "period": "month"}
_OF_KEY = {"name": "daily_cost", "unit": "nanousd", "amount": 20_000_000_000, "period": "day", "subject": "key"}

BODIES: dict[str, dict[str, Any]] = {
    "createPlan": {"id": "pro", "name": "Pro", "limits": [_RPM, _MONTHLY]},
    "replaceLimits": {"limits": [{**_RPM, "amount": 1200}, _MONTHLY]},
    "setProviders": {"providers": ["/v1/chat/*=deepseek"]},
    "setPlanPrice": {"monthly_nanousd": 49_000_000_000},
    "createAccount": {"name": "Acme", "plan": "pro"},
    "changeAccount": {"status": "active"},
    "addNote": {"text": "Asked for a higher limit by phone"},
    "createKey": {"name": "checkout, production", "models": ["gpt-4o-mini"], "rotate_every_days": 90},
    "changeKey": {"status": "disabled"},
    "replaceKeyLimits": {"limits": [_OF_KEY]},
    "rotateKey": {"rotation_id": "2026-11", "grace_s": _DAY_S},
    "changePlan": {"monthly_nanousd": 59_000_000_000},
    "inviteMember": {"email": "ada@example.com", "role": "member"},
    "changeMember": {"role": "viewer"},
    "setInvoicePaid": {"paid": True},
    "queryUsage": {"account": None, "groups": ["model", "key,status"]},
    "createToken": {"kind": "service", "name": "checkout"},
    "createNotification": {"type": "webhook", "target": "https://hooks.example.com/keygauge", "events": ["quota"]},
    "changeNotification": {"events": ["quota", "key_disabled", "invoice"]},
    "setPrice": {"model": "house-model", "tiers": [{"input": 100_000_000, "output": 400_000_000}]},
}
QUERIES: dict[str, dict[str, str]] = {
    "listAccounts": {"limit": "500"},
    "listAudit": {"account": "{account_id}", "action": "key"},
    "listDeliveries": {"status": "failed"},
    "listCalls": {"account": "{account_id}", "status": "4xx", "limit": "50"},
    "listAllKeys": {"status": "active", "sort": "-last_used"},
    "listKeys": {"limit": "500"},
    "readBilling": {"account": "{account_id}"},
    "readUsage": {"account": "{account_id}", "group_by": "model", "from": "2026-11-01T00:00:00Z"},
}
# Operations that need an idempotency key, as a repetition would create a second object.
ONCE = frozenset(
    (
        *("addNote", "createAccount", "createKey", "createPlan", "createNotification", "createToken", "inviteMember"),
        *("setPrice", "testNotification"),
    )
)
VARIABLES = {
    "account_id": "ACCOUNT",
    "key_id": "KEY",
    "plan_id": "PLAN",
    "token_id": "TOKEN",
    "notification_id": "NOTIFICATION",
    "member_id": "MEMBER",
    "invitation_id": "INVITATION",
    "period": "PERIOD",
}


def add(paths: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Add samples to each operation that operators may call."""
    for path, item in paths.items():
        for method, operation in item.items():
            if {"operator": []} in operation["security"]:
                operation["x-codeSamples"] = _samples(method, path, operation["operationId"])


def _samples(method: str, path: str, operation_id: str) -> list[dict[str, str]]:
    query, body = QUERIES.get(operation_id), BODIES.get(operation_id)
    once = f"{operation_id}-1" if operation_id in ONCE else None  # callers generate their own key
    address = path + (f"?{urlencode(query, safe='{}:')}" if query else "")
    return [
        {"lang": "Shell", "label": "curl", "source": _curl(method, address, body, once=once)},
        {"lang": "Python", "source": _python(method, address, body, once=once)},
        {"lang": "JavaScript", "source": _javascript(method, address, body, once=once)},
    ]


def _fill(address: str, opening: str, closing: str) -> str:
    """Replace the address's ids with a language's syntax for reading environment variables."""
    for name, variable in VARIABLES.items():
        address = address.replace(f"{{{name}}}", f"{opening}{variable}{closing}")
    return address


def _curl(method: str, address: str, body: object, *, once: str | None) -> str:
    lines = [f'curl --fail-with-body -X {method.upper()} "$KEYGAUGE{_fill(address, "$", "")}"']
    lines.append('-H "Authorization: Bearer $KEYGAUGE_ADMIN_TOKEN"')
    if once:
        lines.append(f'-H "Idempotency-Key: {once}"')
    if body is not None:
        lines.append(f"--json '{json.dumps(body)}'")
    return " \\\n  ".join(lines)


def _python(method: str, address: str, body: object, *, once: str | None) -> str:
    key = f', "Idempotency-Key": "{once}"' if once else ""
    lines = [
        "import os",
        "import requests",
        "",
        f"answer = requests.{method}(",
        f"""    os.environ["KEYGAUGE"] + f"{_fill(address, "{os.environ['", "']}")}",""",
        f"""    headers={{"Authorization": f"Bearer {{os.environ['KEYGAUGE_ADMIN_TOKEN']}}"{key}}},""",
        *([f"    json={body!r},"] if body is not None else []),
        "    timeout=10,",
        ")",
        "answer.raise_for_status()",
        *(["print(answer.json())"] if method != "delete" else []),
    ]
    return "\n".join(lines)


def _javascript(method: str, address: str, body: object, *, once: str | None) -> str:
    key = f', "Idempotency-Key": "{once}"' if once else ""
    kind = ', "Content-Type": "application/json"' if body is not None else ""
    lines = [
        f"const answer = await fetch(`${{process.env.KEYGAUGE}}{_fill(address, '${process.env.', '}')}`, {{",
        f'  method: "{method.upper()}",',
        f"  headers: {{Authorization: `Bearer ${{process.env.KEYGAUGE_ADMIN_TOKEN}}`{kind}{key}}},",
        *([f"  body: JSON.stringify({json.dumps(body)}),"] if body is not None else []),
        "});",
        "if (!answer.ok) throw new Error(await answer.text());",
        *(["console.log(await answer.json());"] if method != "delete" else []),
    ]
    return "\n".join(lines)
