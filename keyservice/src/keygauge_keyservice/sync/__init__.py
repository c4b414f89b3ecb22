"""The heartbeat of a replica, answered: keys that changed, leases given and taken back, prices.

`keygauge.sync` is the other side.

May import `keys`, `limits`, `journal`, `pricing`.
"""
