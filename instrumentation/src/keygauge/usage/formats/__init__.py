"""Formats of answers: documents, streams and sessions, as they arrive on the wire. Stands on `providers`."""
