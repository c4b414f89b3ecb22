"""The key service's part of the metric registry, served at its `/metrics`; it is here so that dashboards can use it."""

from __future__ import annotations

from keygauge.metrics import DURATION_BUCKETS_S, METHOD, ROUTE, STATUS, Metric

# Short labels, as these series are made for joins.
ACCOUNT = "account"  # an account's id
ACCOUNT_NAME = "account_name"
ID = "id"  # a key's id
KEY = "key"  # a key's id; empty if the limit counts its whole account
LIMIT = "limit"
NAME = "name"
PLAN = "plan"
STATE = "status"  # of a key: active, disabled, suspended, deleted
UNIT = "unit"  # of a limit: request, token, nanousd, concurrent
PERIOD = "period"  # of a budget: hour, day, week, month, quarter, year, lifetime; empty for a rate
REASON = "reason"

_LIMIT = (ACCOUNT, KEY, LIMIT, UNIT, PERIOD)

LIMIT_USED = Metric("keygauge.limit.used", "gauge", "{unit}", _LIMIT, "Units used of a limit in its current period")
LIMIT_MAX = Metric("keygauge.limit.max", "gauge", "{unit}", _LIMIT, "Units a limit allows in a period")
LIMIT_RESET = Metric("keygauge.limit.reset.timestamp", "gauge", "s", _LIMIT, "When a limit's current period ends")
KEY_INFO = Metric(
    "keygauge.key.info", "gauge", "{key}", (ID, NAME, ACCOUNT, ACCOUNT_NAME, PLAN, STATE), "1 for each living key"
)
KEY_EXPIRY = Metric("keygauge.key.expiry.timestamp", "gauge", "s", (ID, ACCOUNT), "When a key expires, if it does")
KEY_LAST_USED = Metric("keygauge.key.last_used.timestamp", "gauge", "s", (ID, ACCOUNT), "When a key was last used")
LEDGER_EVENTS = Metric("keygauge.ledger.events", "counter", "{event}", (), "Events taken into the ledger")
LEDGER_REFUSED = Metric("keygauge.ledger.refused", "counter", "{event}", (REASON,), "Events refused, by reason")
LEDGER_DUPLICATES = Metric("keygauge.ledger.duplicates", "counter", "{event}", (), "Events sent again and ignored")
LEDGER_MISSING = Metric("keygauge.ledger.missing", "counter", "{event}", (), "Events that a spool skipped")
LEDGER_BATCH_DURATION = Metric(
    "keygauge.ledger.batch.duration", "histogram", "s", (), "Time to take a batch of events", DURATION_BUCKETS_S
)
LEDGER_LAG = Metric("keygauge.ledger.lag", "gauge", "s", (), "Age of the newest event when its batch was taken")
_DRIFT = "in the settled hours of the last day, by whether the ledger has less (missing) or more (surplus)"
LEDGER_DRIFT_REQUESTS = Metric(
    "keygauge.ledger.drift.requests",
    "gauge",
    "{request}",
    (REASON,),
    f"Requests that replicas counted otherwise {_DRIFT}",
)
LEDGER_DRIFT_TOKENS = Metric(
    "keygauge.ledger.drift.tokens", "gauge", "{token}", (REASON,), f"Tokens that replicas counted otherwise {_DRIFT}"
)
LEDGER_COMPARED = Metric(
    "keygauge.ledger.compared.requests", "gauge", "{request}", (), "Requests that replicas reported in those hours"
)
LEDGER_CHECKED = Metric(
    "keygauge.ledger.checked.timestamp", "gauge", "s", (), "When the ledger was last compared with its replicas"
)
SERVICE_REQUESTS = Metric(
    "keygauge.service.requests",
    "counter",
    "{request}",
    (ROUTE, METHOD, STATUS),
    "Requests the key service answered",
)
SERVICE_DURATION = Metric(
    "keygauge.service.request.duration",
    "histogram",
    "s",
    (ROUTE,),
    "Time the key service took for an answer",
    DURATION_BUCKETS_S,
)

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
