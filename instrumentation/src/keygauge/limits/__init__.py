"""The decision.

Who calls, what its key may do, and whether its limits have room, from what this process holds and without I/O.

May import `pricing` and what stands beside the rooms.
"""
