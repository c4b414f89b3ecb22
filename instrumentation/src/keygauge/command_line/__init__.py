"""The basis of all commands, their reference, and the commands `keygauge doctor` and `keygauge proxy`."""
