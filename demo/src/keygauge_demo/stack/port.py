"""Ports that are held for servers to come, so that nobody else gets them meanwhile."""

from __future__ import annotations

import socket

from keygauge_demo.settings import HOST


def hold(port: int = 0) -> socket.socket:
    """Hold a port of loopback, by default one that is free; close the socket to let it go.

    Bound and never listening, it keeps the kernel from giving the port to anyone who asks for a free one. A server that
    names the port can listen there all the same, again and again: every server sets SO_REUSEADDR.

    Raises:
        OSError: someone listens there, or may not be disturbed.
    """
    held = socket.socket()
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
    except OSError:
        held.close()
        raise
    return held


def hold_row(count: int) -> list[socket.socket]:
    """Hold ports that follow each other."""
    while True:
        first = hold()
        row = [first]
        try:
            for further in range(1, count):
                row.append(hold(first.getsockname()[1] + further))  # noqa: PERF401 - those held so far are to be closed
        except (OSError, OverflowError):  # one of them is taken, or past the last
            for held in row:
                held.close()
        else:
            return row
