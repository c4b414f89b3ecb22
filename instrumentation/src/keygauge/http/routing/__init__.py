"""Which route of the host a request has: through mounts, routers and layers, under ASGI and WSGI."""
