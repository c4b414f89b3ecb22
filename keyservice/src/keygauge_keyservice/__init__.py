"""The key service: it issues keys, shares limits between replicas and keeps the usage ledger."""
