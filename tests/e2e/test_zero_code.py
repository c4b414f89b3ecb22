"""The real `opentelemetry-instrument`, in an environment with keygauge but without exporters."""

import json
import os
import subprocess
import sysconfig
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from socket import socket

import environments
import pytest
from serving import wait_until_ready

ROOT = Path(__file__).parent.parent.parent
APPS = {
    "raw.py": "from fastapi import FastAPI\napp = FastAPI()\napp.get('/hello')(lambda: 'hello')\n",
    "page.py": "from flask import Flask\napp = Flask('page')\napp.add_url_rule('/hello', 'hello', lambda: 'hello')\n",
}
NO_EXPORT = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
ENFORCE = {"KEYGAUGE_SERVICE_URL": "http://127.0.0.1:9", "KEYGAUGE_SERVICE_TOKEN": "test-service-token-0123456789"}
SERVERS = {
    "uvicorn": ["uvicorn", "raw:app", "--fd", "{fd}"],
    "gunicorn": ["gunicorn", "page:app", "--bind", "fd://{fd}"],
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Install keygauge from its source, as a user does; return the directory of the programs."""
    base = environments.programs("zero_code")
    directory = tmp_path_factory.mktemp("zero_code")
    environments.run(base / "python", "-m", "venv", "--without-pip", directory)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    (site / "base.pth").write_text(sysconfig.get_path("purelib", vars={"base": str(base.parent)}))
    python = directory / "bin" / "python"
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation"]
    environments.run(base / "python", *install, ROOT / "instrumentation")
    for program in ("opentelemetry-instrument", "uvicorn", "gunicorn"):
        text = (base / program).read_text()
        (directory / "bin" / program).write_text(text.replace(str(base / "python"), str(python)))
        (directory / "bin" / program).chmod(0o755)
    return directory / "bin"


@pytest.fixture
def serve(programs, tmp_path):
    """Start a server on a socket opened by the test: (server, environment) -> (process, port, log)."""
    started = []
    for name, text in APPS.items():
        (tmp_path / name).write_text(text)

    def serve(server, **environ):
        listening = socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        command = [part.format(fd=listening.fileno()) for part in SERVERS[server]]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "KEYGAUGE_"))}
        own |= {"PATH": f"{programs}{os.pathsep}{own['PATH']}", "HOME": str(tmp_path), **environ}
        own["KEYGAUGE_SPOOL_DIR"] = str(tmp_path / "spool")
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as output, closing(listening):
            process = subprocess.Popen(
                [programs / "opentelemetry-instrument", programs / command[0], *command[1:]],
                cwd=tmp_path,
                env=own,
                pass_fds=[listening.fileno()],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            started.append(process)
            return process, listening.getsockname()[1], log

    yield serve
    for process in started:
        process.kill()
        process.wait()


def get(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=150)
    with closing(connection):
        connection.request("GET", "/hello")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


FAILURES = {
    "exporters that are not installed": ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER=none"),
    "a configurator that fails": ({**NO_EXPORT, "OTEL_PYTHON_ID_GENERATOR": "nothing"}, "refuses to serve"),
    "everything turned off": ({**NO_EXPORT, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, "was not loaded"),
    "a setting that is missing": ({**NO_EXPORT, "KEYGAUGE_SERVICE_TOKEN": ""}, "KEYGAUGE_SERVICE_TOKEN is not set"),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("failure", FAILURES)
def test_failed_setup_ends_the_process_with_the_fix(serve, server, failure):
    environ, told = FAILURES[failure]
    process, _, log = serve(server, **{**ENFORCE, **environ})
    assert process.wait(150) != 0
    assert told in log.read_text()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("exporters", [NO_EXPORT, {}], ids=["none", "unset"])
def test_setup_without_exporters_requires_keys(serve, server, exporters):
    process, port, log = serve(server, **ENFORCE, **exporters)
    wait_until_ready(port, process, log)
    status, problem = get(port)
    assert (status, problem["code"]) == (401, "key_missing")
    assert ("no OpenTelemetry exporter is installed" in log.read_text()) is (not exporters)


@pytest.mark.parametrize("exporters", [{}, {"OTEL_TRACES_EXPORTER": "otlp"}], ids=["unset", "missing"])
def test_app_in_observe_mode_is_served_despite_failures(serve, exporters):
    process, port, log = serve("uvicorn", KEYGAUGE_MODE="observe", **exporters)
    wait_until_ready(port, process, log)
    assert get(port)[0] == 200
    assert ("Failed to auto initialize" in log.read_text()) is bool(exporters)
