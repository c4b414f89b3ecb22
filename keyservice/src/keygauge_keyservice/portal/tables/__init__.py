"""Tables of pages as files: CSV and JSON."""
