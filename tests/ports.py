"""Ports for what tests start; each is held until the run ends, so that nobody else gets one it was told."""

import atexit

from keygauge_demo.stack import port

_held = []


def free_port():
    """Find a port that nobody listens on, and that a server may listen on again and again."""
    _held.append(port.hold())
    return _held[-1].getsockname()[1]


def free_ports(count):
    """Find ports that follow each other."""
    row = port.hold_row(count)
    _held.extend(row)
    return [held.getsockname()[1] for held in row]


@atexit.register
def _let_go():
    for held in _held:
        held.close()
