"""How commands reach the key service: over HTTP, or in this process on its database."""
