"""The metered API: chat completions and messages, with answers generated from the request.

It imports nothing else from the demo.
"""
