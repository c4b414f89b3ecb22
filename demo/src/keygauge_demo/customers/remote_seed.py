"""The demo's customers in a key service that runs elsewhere, created through its API with the operator's token."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from keygauge_demo.customers import profiles, seed
from keygauge_demo.customers.seed import Seed
from keygauge_demo.settings import DemoError
from keygauge_keyservice.database import Connection

_TIMEOUT_S = 10.0


class Operator:
    """A client of the key service's API with an operator's token."""

    def __init__(self, service_url: str, admin_token: str) -> None:
        headers = {"Authorization": f"Bearer {admin_token}"}
        self._http = httpx2.Client(base_url=service_url, headers=headers, timeout=_TIMEOUT_S)

    def has_key(self, key_id: str) -> bool:
        """Return whether a key exists."""
        answer = self._request("GET", f"/v1/keys/{key_id}", fine=HTTPStatus.NOT_FOUND)
        return answer is not None and answer["status"] != "deleted"

    def create_plan(self, plan: profiles.Plan) -> None:
        """Create a plan unless one with its id exists."""
        limits = [
            {"name": "rpm", "unit": "request", "amount": plan.requests_per_minute, "window_s": 60},
            {"name": "monthly_requests", "unit": "request", "amount": plan.requests_per_month, "period": "month"},
        ]
        body = {"id": plan.id, "name": plan.name, "limits": limits, "prorated": True, "self_service": True}
        self._request("POST", "/v1/plans", body, fine=HTTPStatus.CONFLICT)

    def create_account(self, account: profiles.Account) -> str:
        """Create an account and return its id."""
        made = self._request("POST", "/v1/accounts", {"name": account.name, "plan": account.plan})
        return str(made["id"])

    def create_key(self, account_id: str, key: profiles.Key) -> tuple[str, str]:
        """Issue a key and return its id and token."""
        body = {"name": key.name, "environment": key.environment}
        made = self._request("POST", f"/v1/accounts/{account_id}/keys", body)
        key_id = str(made["key"]["id"])
        if not key.is_enabled:
            self._request("PATCH", f"/v1/keys/{key_id}", {"status": "disabled"})
        return key_id, str(made["token"])

    def _request(self, method: str, path: str, body: object = None, *, fine: HTTPStatus | None = None) -> Any:
        """Return the answer's document; None if the status is `fine`."""
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise DemoError(f"the key service at {self._http.base_url} does not answer: {error}") from error
        if answer.status_code == fine:
            return None
        if answer.is_error:
            raise DemoError(f"the key service refused {method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


def load_or_create(operator: Operator, connection: Connection | None, *, file: Path, now: datetime) -> Seed:
    """Return the key service's seed; create it if there is none.

    With a connection to the key service's database, members can also sign in.

    Raises:
        DemoError: the key service refuses or does not answer.
    """
    planted = seed.read(file)
    if planted and all(map(operator.has_key, planted.key_ids.values())):
        return planted
    planted = _create(operator, now)
    if connection is not None:
        seed.add_members_and_age(connection, planted)
    file.parent.mkdir(parents=True, exist_ok=True)
    seed.write(file, planted)
    return planted


def _create(operator: Operator, now: datetime) -> Seed:
    planted = seed.empty(now)
    for plan in profiles.PLANS:
        operator.create_plan(plan)
    for profile in profiles.ACCOUNTS:
        account_id = operator.create_account(profile)
        for key in profile.keys:
            planted.key_ids[key.name], planted.tokens[key.name] = operator.create_key(account_id, key)
            planted.account_ids[key.name] = account_id
    return planted
