"""The usage ledger.

Events, ingested exactly once, their roll-ups and aggregates, re-rating and reconciliation.

May import `journal`, `pricing`.
"""
