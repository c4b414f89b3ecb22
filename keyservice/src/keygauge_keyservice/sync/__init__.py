"""Answers to the heartbeats of replicas: changed keys, leases granted and returned, prices.

The counterpart is `keygauge.sync`.

May import `keys`, `limits`, `journal`, `pricing`.
"""
