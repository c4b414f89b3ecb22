"""The uids of the dashboards, fixed so that links and bookmarks keep working."""

from __future__ import annotations

OVERVIEW = "keygauge-overview"
KEY_PAGE = "keygauge-key"
MODELS_PAGE = "keygauge-models"
LIMITS_PAGE = "keygauge-quotas"
ERRORS_PAGE = "keygauge-errors"
KEYS_PAGE = "keygauge-keys"
LOG_PAGE = "keygauge-requests"
HEALTH_PAGE = "keygauge-health"
