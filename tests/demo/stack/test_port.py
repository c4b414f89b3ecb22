import socket
from contextlib import closing

import pytest

from keygauge_demo.stack.port import hold


def listen(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return closing(server)


def test_a_server_can_listen_on_a_held_port_repeatedly():
    with hold() as held:
        port = held.getsockname()[1]
        for _ in range(2):
            with listen(port), socket.create_connection(("127.0.0.1", port)):
                pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_a_port_with_a_listener_cannot_be_held():
    with hold() as held, listen(held.getsockname()[1]), pytest.raises(OSError, match="in use"):
        hold(held.getsockname()[1])


def test_a_held_port_is_not_given_to_others():
    with hold() as held, hold() as other, socket.socket() as plain:
        assert held.getsockname() != other.getsockname()
        with pytest.raises(OSError, match="in use"):
            plain.bind(held.getsockname())
