"""What was used: totals, series and parts of any range, the call log, quotas and live rates.

Reads the ledger, never writes.

May import `ledger`, `limits`.
"""
