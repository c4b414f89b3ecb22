"""Usage queries: totals, series and breakdowns of any range, the call log, quotas and live rates.

Reads the ledger, but never writes to it.

May import `ledger`, `limits`, `pricing`.
"""
