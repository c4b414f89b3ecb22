"""Meter and guard an API by key, inside the Python process that serves it."""

__version__ = "0.1.0"
