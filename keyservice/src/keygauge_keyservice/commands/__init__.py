"""The key service's part of the command `keygauge`: one module per noun, each called by an entry point of its name.

Nouns of the API are clients of it, of a key service at an address or of the database at hand. What makes sense on the
database alone (serve, migrate, ledger, re-rating, passwords) has a connection.
"""
