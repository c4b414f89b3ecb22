"""The settings of the middleware, from their environment variables. Imports names and formats alone."""
