"""`.ci/run` on a clean machine, with programs that only record that they were called."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELL = ["bash", "sh", "env", "dirname", "id", "ls", "find", "head", "cp"]
PROGRAMS = [
    "python3",
    "prometheus",
    "promtool",
    "amtool",
    "psql",
    "pg_virtualenv",
    "chromium",
    "make",
    "apt-get",
    "go",
    "helm",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with a `bin/` of programs that record their calls."""
    for name in (".ci/run", "collector/build.sh", ".venv/bin/python", *(f"bin/{program}" for program in PROGRAMS)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/called"\n')
        path.chmod(0o755)
    for program in SHELL:
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or program)
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    return tmp_path


@pytest.mark.parametrize("absent", [(), ("go",), ("helm",), ("go", "helm"), ("prometheus", "psql", "pg_virtualenv")])
def test_no_missing_program_ends_it_before_the_tests(checkout: Path, absent: tuple[str, ...]) -> None:
    for program in absent:
        (checkout / "bin" / program).unlink()
    (checkout / "bin/apt-get").write_text(f"#!/bin/sh\ncp {checkout}/bin/make {checkout}/bin/pg_virtualenv\n")
    (checkout / "bin/sudo").symlink_to(shutil.which("env") or "env")
    environment = {"PATH": f"{checkout}/bin", "HOME": str(checkout), "PYENV_ROOT": f"{checkout}/none"}
    run = subprocess.run([checkout / ".ci/run"], env=environment, capture_output=True, text=True, check=False)
    called = (checkout / "called").read_text()
    assert run.returncode == 0, run.stderr + called
    assert "bin/make check\n" in called
    assert "tests/e2e/environments.py" in called
    assert "bin/make test TESTS=--hypothesis-profile=long\n" in called
