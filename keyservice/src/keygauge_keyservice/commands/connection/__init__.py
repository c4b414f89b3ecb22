"""How a command reaches the key service: over HTTP, or on its database in this process."""
