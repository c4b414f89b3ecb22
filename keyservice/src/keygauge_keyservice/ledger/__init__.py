"""The usage ledger.

Events taken in exactly once, roll-ups and aggregates over them, re-rating and reconciliation.

May import `pricing`.
"""
