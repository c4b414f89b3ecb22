"""Issue keys, share limits between replicas and keep the usage ledger."""
