"""The server of `keygauge serve`: a supervisor, and worker processes whose threads slow clients cannot block."""
