"""Common parts of all HTTP responses: problems, bearer tokens, body fields, idempotency, compression, CSV.

The only package besides `api` and `portal` that uses Flask.
"""
