"""What all HTTP answers share: problems, bearer tokens, fields of a body, idempotency, compression, CSV.

The only room beside `api` and `portal` that knows Flask.
"""
