"""Decisions: who calls, what its key may do, and whether its limits have room.

They use only what this process holds, without I/O.

May import `pricing`, `settings`, `usage` and the modules directly in `keygauge`.
"""
