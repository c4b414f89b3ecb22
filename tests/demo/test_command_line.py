import subprocess
import sys

import pytest

PROGRAMS = {
    "keygauge_demo": ("keygauge-demo", "DEMO_PORT_API"),
    "keygauge_demo.remote": ("keygauge-demo-traffic", "DEMO_API_URL"),
}


def run(module, *arguments):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_names_the_settings_and_starts_nothing(module):
    result = run(module, "--help")
    program, setting = PROGRAMS[module]
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: {program} [-h]")
    assert setting in result.stdout


@pytest.mark.parametrize("module", PROGRAMS)
def test_an_unknown_argument_is_refused(module):
    result = run(module, "--port", "9000")
    assert (result.returncode, result.stdout) == (2, "")
    assert "unrecognized arguments: --port 9000" in result.stderr
