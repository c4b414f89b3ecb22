"""Python environments of third-party applications, whose versions must not mix with those of KeyGauge's tests.

`python tests/e2e/environments.py` prepares all of them; a test prepares the one it needs. They are kept in
`~/.cache/keygauge`, each under a name that depends on its list of versions.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

LISTS = Path(__file__).parent / "foreign"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keygauge"


def prepare(name):
    """Return the directory of an environment's programs; create the environment if it does not exist.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be created.
    """
    versions = LISTS / f"{name}.txt"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    mark = hashlib.sha256(versions.read_bytes()).hexdigest()[:12]
    directory = CACHE / f"{name}-{python}-{mark}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:  # tests run in several processes
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (directory / "ready").exists():
            run(sys.executable, "-m", "venv", "--clear", directory)
            pip = (directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            run(*pip, "--no-deps", "-r", versions)
            (directory / "ready").touch()
    return directory / "bin"


def programs(name):
    """Return the directory of an environment's programs, or skip the test if it cannot be created."""
    try:
        return prepare(name)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"the environment {name} cannot be made here: {getattr(error, 'stderr', None) or error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def run(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, timeout=900)


if __name__ == "__main__":
    for path in sorted(LISTS.glob("*.txt")):
        started = time.monotonic()
        prepare(path.stem)
        print(f"{path.stem}: ready after {time.monotonic() - started:.0f} s")
