"""Ports for servers that tests start; each is reserved until the run ends, so that no other process gets it."""

import atexit

from keygauge_demo.stack import port

_held = []


def free_port():
    """Return a free port, on which a server can listen repeatedly."""
    _held.append(port.hold())
    return _held[-1].getsockname()[1]


def free_ports(count):
    """Return consecutive free ports."""
    row = port.hold_row(count)
    _held.extend(row)
    return [held.getsockname()[1] for held in row]


@atexit.register
def _let_go():
    for held in _held:
        held.close()
