import subprocess
import sys

import pytest
from msgspec import Struct, ValidationError

from keygauge_keyservice import struct_types

TOGETHER = """
import sys, threading
from keygauge.protocol import Heartbeat
from keygauge_keyservice import struct_types

sys.setswitchinterval(1e-6)  # so that they meet in the middle
body = (
    b'{"replica": "0123456789abcdef0123456789abcdef", "service": "s", "host": "h", "version": "1", "mode": "enforce",'
    b'"acquire": [{"limit": "1:a", "units": 1, "waiting": 1}], "return": [{"lease": "1", "unspent": 1}],'
    b'"prices": {"state": null, "want": []}}'
)
barrier = threading.Barrier(8)


def read():
    barrier.wait()
    struct_types.decoder(Heartbeat).decode(body)


threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_meet_a_type_together_do_not_crash():
    """Without a lock three of four processes crashed."""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class Point(Struct):
    x: int
    y: int = 0


def test_objects_and_json_are_read_as_a_type():
    class Place:
        x, y = 3, 4

    assert struct_types.convert(Place(), Point) == Point(3, 4)
    assert struct_types.convert([{"x": 1}], list[Point]) == [Point(1)]
    assert struct_types.decoder(Point).decode(b'{"x": 2}') == Point(2)
    with pytest.raises(ValidationError):
        struct_types.decoder(Point).decode(b'{"x": "two"}')
