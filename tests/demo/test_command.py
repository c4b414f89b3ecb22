import os
import socket
import subprocess
import sys

import pytest
from ports import free_port


@pytest.fixture
def environ(tmp_path):
    ports = {"DEMO_PORT_PORTAL": str(free_port()), "DEMO_PORT_API": str(free_port())}
    return {**os.environ, **ports, "DEMO_STATE": str(tmp_path / "state"), "DEMO_SECONDS": "1", "COLUMNS": "200"}


def run(environ):
    command = [sys.executable, "-m", "keygauge_demo"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def test_port_in_use_is_reported_with_the_fix(environ):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port is bound, but nothing listens on it
        other.bind(("127.0.0.1", int(environ["DEMO_PORT_API"])))
        other.listen()
        result = run(environ)
    assert result.returncode == 1
    assert f"port {environ['DEMO_PORT_API']} is taken" in result.stdout
    assert "DEMO_PORT_API=" in result.stdout
    assert "Traceback" not in result.stderr
