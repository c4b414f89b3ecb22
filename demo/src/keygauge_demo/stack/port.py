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
