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
    while True:
        first = port.hold()
        row = [first]
        try:
            for further in range(1, count):
                row.append(port.hold(first.getsockname()[1] + further))  # noqa: PERF401 - ports reserved so far must be closed on failure
        except (OSError, OverflowError):  # a port is in use, or above the last port
            for held in row:
                held.close()
        else:
            _held.extend(row)
            return [held.getsockname()[1] for held in row]


@atexit.register
def _let_go():
    for held in _held:
        held.close()
