"""Limits and who holds what of them: definitions, leases, replicas, and one file for each kind in `kinds`.

May import `database`.
"""
