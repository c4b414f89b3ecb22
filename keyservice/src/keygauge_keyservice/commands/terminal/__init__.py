"""What commands read and write in a terminal: options, names, tables."""
