"""Accounts, plans, members, invitations, sessions and single sign-on.

May import `journal`, `limits`.
"""
