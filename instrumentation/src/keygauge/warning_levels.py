"""Warning thresholds for quotas and keys, the same for customers in the portal and operators on dashboards."""

QUOTA_SHARES = (0.5, 0.8, 0.95, 1.0)  # of a quota or budget; each sends one notice per period
QUOTA_NEAR = 0.8  # share from which a quota is shown as nearly used up
EXPIRES_SOON_DAYS = 14
UNUSED_DAYS = 60
SPIKE_FACTOR = 5.0  # times a key's average hour of the past week
SPIKE_REQUESTS = 1000  # in an hour; fewer are no spike
