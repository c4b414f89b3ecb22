"""Meter and guard an API by key, inside the Python process that serves it.

`asgi` and `wsgi` are the middleware, and `http` is a request's way through it. `limits` admits or refuses the call,
`usage` reads the tokens from its answer, `pricing` computes their cost, `telemetry` counts them, `spool` keeps the call
on disk until it is in the ledger, and `sync` talks to the key service. `runtime` is one process's set of these.
"""

from keygauge.call import Call, current
from keygauge.log_fields import CallFilter
from keygauge.usage import Usage

__all__ = ["Call", "CallFilter", "Usage", "current"]
__version__ = "0.1.0"
