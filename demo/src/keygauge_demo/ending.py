"""What the demo says, and the exit status, when it is interrupted before there was traffic."""

from __future__ import annotations

INTERRUPTED = 130  # as a shell says it of Ctrl-C
STOPPED = "Stopped before there was traffic."
