"""The exchange with the key service, once a second: keys, leases on limits, and prices.

The key service has the room `sync` too.

May import `limits`, `pricing` and what stands beside the rooms.
"""
