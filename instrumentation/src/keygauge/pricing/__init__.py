"""What a call costs, in whole nano-USD, by the rates that the key service told.

May import only what stands beside the rooms.
"""
