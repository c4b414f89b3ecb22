import subprocess
import sys

import pytest

INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys
from keygauge_demo.__main__ import main

class Interrupter:
    def find_spec(self, name, *_):
        if name == "keygauge_demo.run":
            os.kill(os.getpid(), signal.{name})

sys.meta_path.insert(0, Interrupter())
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_during_import_end_it_quietly(name):
    script = INTERRUPTED_WHILE_IMPORTING.replace("{name}", name)
    demo = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert (demo.returncode, demo.stdout, demo.stderr) == (130, "Stopped before there was traffic.\n", "")
