"""Keys: issued, found, limited, rotated.

May import `accounts`, `journal`, `limits`.
"""
