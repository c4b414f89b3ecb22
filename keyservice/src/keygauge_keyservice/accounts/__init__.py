"""Accounts and the people in them: plans, members, invitations, sessions, single sign-on.

May import `journal`.
"""
