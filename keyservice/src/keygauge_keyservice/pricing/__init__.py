"""What models cost: own prices first, then the public list.

May import `accounts`, `journal`.
"""
