"""Notifications to account owners: found once, and delivered by e-mail and webhooks with retries.

May import `accounts`, `billing`, `journal`, `keys`, `ledger`, `usage`.
"""
