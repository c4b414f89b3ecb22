"""Monthly invoices, and the forecast for the current month.

May import `accounts`, `journal`, `ledger`, `usage`.
"""
