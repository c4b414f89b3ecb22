"""The commands' input and output in a terminal: options, names, tables."""
