"""Limits and their leases: definitions, leases, replicas, and one module per kind of limit in `kinds`.

May import `database`, `errors`, `reading`, `texts`, `values`.
"""
