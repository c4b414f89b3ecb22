"""The message and exit status of a demo that is interrupted before there was traffic."""

from __future__ import annotations

INTERRUPTED = 130  # as shells report Ctrl-C
STOPPED = "Stopped before there was traffic."
