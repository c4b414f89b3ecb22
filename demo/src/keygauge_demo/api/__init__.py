"""The metered API: chat completions and messages, with answers made from the request.

Imports nothing else of the demo.
"""
