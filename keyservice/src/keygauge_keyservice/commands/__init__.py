"""The key service's `keygauge` subcommands: one module per noun, each called by an entry point of the same name.

Nouns of the API are API clients, either of a remote key service or of the local database. Commands that only make sense
on the database (serve, migrate, ledger, re-rating, passwords) open a connection.
"""
