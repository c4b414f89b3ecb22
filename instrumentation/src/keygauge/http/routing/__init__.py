"""Lookup of a request's route in the host app: through mounts, routers and layers, under ASGI and WSGI."""
