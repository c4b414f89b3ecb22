"""The README and docs/start, followed like a reader: every block is run, in order, in an empty folder."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from ports import free_ports

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/start").glob("*.md"))]
IN_CONTAINERS = "### Dashboards and alerts"  # the README's last quick start: see tests/dashboards/test_compose.py
SERVERS = ("keygauge serve", "uvicorn ")
blocks_of = re.compile(r'^```(sh|python)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL).findall


@pytest.fixture
def shell(tmp_path):
    """Run commands in one shell that keeps its variables; servers run in the background until the test's end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KEYGAUGE_", "OTEL_"))}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    variables, servers = tmp_path / "variables", []
    variables.touch()

    def run(text, port):
        script = f"set -e -o pipefail\n. {variables}\n{text}\nexport -p > {variables}\n"
        if not text.startswith(SERVERS):
            options = {"cwd": tmp_path, "env": environ, "capture_output": True, "text": True, "timeout": 60}
            done = subprocess.run(["bash", "-c", script], check=False, **options)
            assert done.returncode == 0, done.stdout + done.stderr
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page, shell, tmp_path):
    portal, api = free_ports(2)
    text = page.read_text(encoding="utf-8").partition(IN_CONTAINERS)[0]
    text = text.replace("keygauge serve", f"keygauge serve --port {portal}")
    text = text.replace(":8080", f":{portal}").replace(":8000", f":{api}").replace("--port 8000", f"--port {api}")
    outputs = []
    for kind, title, block in blocks_of(text):
        if kind == "python":
            (tmp_path / title).write_text(block)
        elif not block.startswith(("pip install", "make ")):  # already installed, or run by other tests
            outputs.append(shell(block.strip(), portal if block.startswith("keygauge") else api))
    refused_and_answered = next(output for output in outputs if "HTTP/1.1" in output)
    assert "401" in refused_and_answered
    assert "x-ratelimit-limit-requests: 600" in refused_and_answered
    assert '"gpt-4o-mini"' in refused_and_answered or '{"hello":"world"}' in refused_and_answered
