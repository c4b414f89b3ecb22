"""The dashboards, one file each. A new dashboard is a file here and a line in `suite`."""
