"""How `keygauge serve` serves: one supervisor, and worker processes whose threads no slow client can hold."""
