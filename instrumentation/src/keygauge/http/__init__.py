"""The HTTP side of a call: messages between server and app, route, body, and the answer to a refused call.

May import `limits`, `telemetry`, `usage` and the top-level modules; nothing here accesses the network.
"""
