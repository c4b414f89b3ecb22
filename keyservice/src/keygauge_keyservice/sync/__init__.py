"""Answers to the heartbeats of replicas: changed keys, leases granted and returned, prices.

The counterpart is `keygauge.sync`.

May import `database`, `journal`, `limits`, `pricing`, `secret`.
"""
