"""The demo's customers: who they are, their ninety days of calls, and how they get into a key service.

Imports `api` for its models, `console` and `settings`.
"""
