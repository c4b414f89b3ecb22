"""Model prices: own prices take precedence over the public price list.

May import `accounts`, `journal`.
"""
