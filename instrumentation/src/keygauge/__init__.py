"""Meter and guard an API by key, inside the Python process that serves it."""

from keygauge.call import Call, current
from keygauge.log_fields import CallFilter
from keygauge.usage import Usage

__all__ = ["Call", "CallFilter", "Usage", "current"]
__version__ = "0.1.0"
