"""A shell that follows a page of the documentation like a reader, in an empty folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from ports import free_ports

SERVERS = ("keygauge serve", "uvicorn ")


@pytest.fixture
def shell(tmp_path):
    """Run commands in one shell that keeps its variables; servers run in the background until the test's end.

    The pages' ports, 8080 and 8000, are replaced by free ones.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KEYGAUGE_", "OTEL_"))}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    variables, servers = tmp_path / "variables", []
    variables.touch()
    portal, api = free_ports(2)

    def run(text):
        port = portal if text.startswith("keygauge serve") else api
        text = text.replace("keygauge serve", f"keygauge serve --port {portal}").replace(":8080", f":{portal}")
        text = text.replace(":8000", f":{api}").replace("--port 8000", f"--port {api}")
        script = f"set -e -o pipefail\n. {variables}\n{text}\nexport -p > {variables}\n"
        if not text.startswith(SERVERS):
            options = {"cwd": tmp_path, "env": environ, "capture_output": True, "text": True, "timeout": 60}
            done = subprocess.run(["bash", "-c", script], check=False, **options)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            return done.stdout
        script = f". {variables}\nexec {text}"
        with (tmp_path / f"log-{port}").open("w") as log:
            servers.append(subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environ, stdout=log, stderr=log))
        wait_for(port, servers[-1], log.name)
        return ""

    yield run
    for server in reversed(servers):
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for(port, server, log):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.poll() is None, Path(log).read_text()
        try:
            return urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except HTTPError:
            return None
        except OSError:
            time.sleep(0.1)
    return pytest.fail(f"nothing answers on {port}: {Path(log).read_text()}")
