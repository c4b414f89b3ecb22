"""What all commands share, their reference, and `keygauge doctor`."""
