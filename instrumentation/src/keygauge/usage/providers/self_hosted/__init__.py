"""Model servers that people run themselves. May import what `providers` may."""
