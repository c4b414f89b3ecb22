"""Issuing, searching, limiting, importing and rotating keys.

May import `accounts`, `journal`, `limits`, `usage`.
"""
