"""`make demo` as a user runs it: its totals agree, it can be restarted, and it leaves no processes behind."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest
from ports import free_port

from keygauge_demo.customers import history, seed
from keygauge_keyservice import embedded

FIELDS = [
    *("sent", "answered", "admitted", "limited", "ledger_events", "metric_requests"),
    *("input_tokens", "ledger_input_tokens", "metric_input_tokens"),
]


@pytest.fixture(scope="module")
def state():
    """One state directory for all tests, so that each run starts from the state left by the previous one.

    It is not in pytest's directory, which each starting worker makes accessible only to its own user: as root,
    PostgreSQL runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="keygauge-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory) / "state"


@pytest.fixture
def environ(state):
    ports = {"DEMO_PORT_PORTAL": str(free_port()), "DEMO_PORT_API": str(free_port())}
    return {**os.environ, **ports, "DEMO_STATE": str(state), "COLUMNS": "200"}


def run(environ, seconds):
    command = [sys.executable, "-m", "keygauge_demo"]
    environ = {**environ, "DEMO_SECONDS": str(seconds)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def processes_of(state):
    """Return the processes that belong to a demo, by its state directory in their environment or command."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                texts = [*process.cmdline(), process.environ().get("DEMO_STATE", "")]
                if any(str(state) in text for text in texts):
                    found.append(process.name())
    return found


def history_of(state):
    """Return how many calls the ledger has from before the seed was created, and how many there should be."""
    planted = seed.read(state / "seed.json")
    server = embedded.start(state / "postgresql")
    try:
        with psycopg.connect(server.get_uri()) as connection:
            [(found,)] = connection.execute("SELECT count(*) FROM event WHERE time < %s", (planted.created_at,))
    finally:
        server.cleanup()
    return found, len(list(history.compose(planted, until=planted.created_at)))


def test_totals_agree(environ, state):
    for seconds in (6, 60):  # a busy machine makes few calls in so short a time
        demo = run(environ, seconds)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        result = json.loads(demo.stdout.splitlines()[-1])
        assert list(result) == FIELDS
        assert result["sent"] == result["answered"] == result["admitted"] + result["limited"]
        assert result["ledger_events"] == result["metric_requests"] == result["answered"]
        assert result["input_tokens"] == result["ledger_input_tokens"] == result["metric_input_tokens"]
        assert demo.stderr == ""
        assert processes_of(state) == []
        if result["sent"] > 10 and result["limited"] and result["input_tokens"]:
            return
    pytest.fail(f"too few calls: {result}")


def test_addresses_and_curl_line_work_and_ctrl_c_leaves_no_processes(environ, state, eventually):
    with start(environ) as demo:
        lines = iter(demo.stdout.readline, "")
        before = list(itertools.takewhile(lambda line: not line.lstrip().startswith("Traffic"), lines))
        curl = next(line.split("Try", 1)[1] for line in before if line.lstrip().startswith("Try"))
        addresses = [text for line in before if "curl" not in line for text in re.findall(r"http://\S+", line)]
        opened = {address: status_of(address) for address in addresses}
        answer = subprocess.run(curl, shell=True, capture_output=True, text=True, timeout=100, check=True)
        demo.send_signal(signal.SIGINT)
        shown = list(lines)
        assert demo.wait(150) == 0, "".join(shown)
    assert len(addresses) >= 3
    assert set(opened.values()) == {200}, opened
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]
    assert list(json.loads(shown[-1])) == FIELDS
    assert "Traceback" not in "".join(shown)
    eventually(lambda: processes_of(state), [])
    found, written = history_of(state)
    assert found == written > 10_000  # even after several starts


def test_killed_demo_leaves_no_processes(environ, state, eventually):
    with start(environ) as demo:
        lines = iter(demo.stdout.readline, "")
        next(line for line in lines if line.lstrip().startswith("Traffic"))
        demo.kill()
        demo.wait(150)
    eventually(lambda: processes_of(state), [])


def status_of(address):
    try:
        with urllib.request.urlopen(address, timeout=100) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def start(environ):
    command = [sys.executable, "-m", "keygauge_demo"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
