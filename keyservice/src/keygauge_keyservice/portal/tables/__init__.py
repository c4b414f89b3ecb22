"""Pages' tables as CSV and JSON files."""
