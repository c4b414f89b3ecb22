"""What replicas counted, compared with what the ledger took."""
