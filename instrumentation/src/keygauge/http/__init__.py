"""The HTTP side of a call.

What a server and an app say to each other as it passes, its route, its body, its answer when refused.

May import `limits`, `telemetry`, `usage` and what stands beside the rooms; nothing here reaches the network.
"""
