"""Events on disk on their way to the ledger, and the counts that the ledger is compared with.

May import `sync` for its connection, and the modules directly in `keygauge`.
"""
