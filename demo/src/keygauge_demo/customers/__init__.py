"""The demo's customers: who they are, their ninety days of calls, and how they are created in a key service.

It imports `api` for its models, `console` and `settings`.
"""
