"""The exchange with the key service, once a second: keys, leases on limits, and prices.

Its counterpart is the key service's package `sync`.

May import `limits`, `pricing`, `settings` and the modules directly in `keygauge`.
"""
