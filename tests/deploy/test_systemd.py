"""The systemd unit: verified by systemd itself, and compared with the command."""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/systemd/keygauge.service"
PROGRAMS = "/opt/keygauge/bin"
EXPOSURE_MAX = 20  # of 100; 92 without a sandbox


@pytest.fixture(scope="module")
def analyze():
    """Run systemd-analyze and return its output; the test fails if it does."""
    if shutil.which("systemd-analyze") is None:
        reason = "no systemd-analyze: install systemd"
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)

    def analyze(*words):
        done = subprocess.run(["systemd-analyze", *words], check=False, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return analyze


@pytest.fixture(scope="module")
def service():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT)
    return unit["Service"]


def test_systemd_accepts_the_unit_without_warnings(analyze, tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAMS, str(Path(sys.executable).parent)))
    assert UNIT.name not in analyze("verify", "--man=no", str(unit))


def test_the_unit_is_sandboxed(analyze):
    analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(UNIT))


def test_the_installed_command_has_the_options_of_the_unit(service):
    program, *words = shlex.split(service["ExecStart"])
    assert program == f"{PROGRAMS}/keygauge"
    installed = Path(sys.executable).parent / "keygauge"
    subprocess.run([installed, *words, "--help"], check=True, capture_output=True, timeout=100)


def test_the_state_directory_is_the_data_directory(service):
    assert service["Environment"] == f"KEYGAUGE_DATA_DIR=%S/{service['StateDirectory']}"
