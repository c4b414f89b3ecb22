import os
import subprocess
from pathlib import Path

import pytest
from programs import AT_HAND, PROGRAMS, find_on_path

from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.thresholds import Thresholds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", params=AT_HAND)
def program(request):
    """Return the path of a program, or skip the test (fail in CI) if missing; Prometheus' programs in each version."""

    def find(name):
        return PROGRAMS[request.param](name) if name in {"prometheus", "promtool"} else find_on_path(name)

    return find


@pytest.fixture
def run(program):
    """Run a program to its end; its output is the message of a failure."""
    return _runner(program)


@pytest.fixture
def run_of_3():
    """Run a program of Prometheus 3, or skip the test."""
    return _runner(PROGRAMS["3"])


def _runner(find):
    def run(name, *arguments, cwd=None):
        command = [find(name), *map(str, arguments)]
        environ = {"GOGC": "400"} | os.environ  # otherwise promtool spends a quarter of its time on garbage collection
        result = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="session")
def root():
    return ROOT


def pytest_generate_tests(metafunc):
    """Parametrize tests with an argument `page` with every dashboard."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", pages(Thresholds()), ids=lambda page: page.uid)
