"""Ports reserved for servers that start later."""

from __future__ import annotations

import socket

from keygauge_demo.settings import HOST


def hold(port: int = 0) -> socket.socket:
    """Reserve a loopback port, by default any free one; close the socket to release it.

    The socket is bound but does not listen, so the kernel does not assign the port to a process that wants any free
    port. A server that names the port can still listen on it, even repeatedly, because every server sets SO_REUSEADDR.

    Raises:
        OSError: the port is in use.
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
    """Reserve consecutive ports."""
    while True:
        first = hold()
        row = [first]
        try:
            for further in range(1, count):
                row.append(hold(first.getsockname()[1] + further))  # noqa: PERF401 - ports reserved so far must be closed on failure
        except (OSError, OverflowError):  # a port is in use, or above the last port
            for held in row:
                held.close()
        else:
            return row
