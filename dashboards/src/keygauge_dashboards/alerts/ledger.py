"""Alerts on data that only the ledger has, evaluated by Grafana; none that Prometheus could evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_dashboards.alerts.alert import subject
from keygauge_dashboards.uids import KEY_PAGE

DATA_SOURCE = "keygauge-postgresql"

# A key with earlier use is used from an address not seen within the last 7 days.
_NEW_CLIENT_IP = """\
/* alert.new_client_ip */
SELECT recent.account_id AS account, recent.key_id AS key, key.name, key.account_name, recent.ip, count(*) AS requests
FROM grafana.event AS recent JOIN grafana.key ON key.id = recent.key_id
WHERE recent.time > now() - interval '15 minutes' AND recent.ip IS NOT NULL AND recent.outcome = 'admitted'
    AND EXISTS (
        SELECT FROM grafana.usage_aggregate AS known
        WHERE known.account_id = recent.account_id AND known.part = recent.key_id AND known.length_s = 7200
            AND known.breakdown = 'key' AND known.inside = ''
            AND known.bucket BETWEEN now() - interval '7 days' AND now() - interval '1 day'
    )
    AND NOT EXISTS (
        SELECT FROM grafana.event AS before
        WHERE before.account_id = recent.account_id AND before.key_id = recent.key_id AND before.ip = recent.ip
            AND before.time BETWEEN now() - interval '7 days' AND now() - interval '15 minutes'
    )
GROUP BY 1, 2, 3, 4, 5
LIMIT 100"""


@dataclass(frozen=True)
class LedgerAlert:
    """A query whose every row is an alert: text columns become labels, the one number its value."""

    uid: str
    name: str
    severity: str
    query: str
    summary: str
    description: str
    impact: str
    page: str  # as in Alert
    labels: tuple[str, ...]  # the text columns


def ledger_alerts() -> list[LedgerAlert]:
    """Return every alert."""
    return [
        LedgerAlert(
            uid="keygauge-new-client-ip",
            name="NewClientIP",
            severity="info",
            query=_NEW_CLIENT_IP,
            summary="Key {{ $labels.name }} ({{ $labels.key }}) is used from a new address",
            description="{{ $labels.ip }} has not used the key of {{ $labels.account_name }} in the last 7 days: "
            "a new host, or a stolen key.",
            impact="If the key is stolen, someone else is using the account's quota and permissions.",
            page=subject(KEY_PAGE, key="key"),
            labels=("account", "key", "name", "account_name", "ip"),
        )
    ]
