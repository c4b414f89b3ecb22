"""Invoices by month, and what the current month will cost.

May import `accounts`, `usage`.
"""
