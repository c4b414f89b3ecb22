"""How late threads wake up on a busy machine, which no program can avoid: for tests that bound a time."""

import time
from threading import Event, Thread

_PAUSE_S = 0.01


class Lateness:
    """A context that measures the longest delay of a sleeping thread; read `worst_s` at its end."""

    def __init__(self):
        self.worst_s = 0.0
        self._ended = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.is_set():
            before = time.monotonic()
            time.sleep(_PAUSE_S)
            self.worst_s = max(self.worst_s, time.monotonic() - before - _PAUSE_S)
