"""The journal: the audit log for people, and the change feed for replicas.

May import `database`.
"""
