"""The Prometheus programs that tests run: those on the path, and those of Prometheus 3 if available."""

import os
import shutil

import pytest

_FOLDER_OF_3 = os.environ.get("KEYGAUGE_PROMETHEUS_3")  # read before tests clean the environment


def find_on_path(name):
    """Return a program on the path; if it is missing, skip the test, or fail it in CI."""
    path = shutil.which(name)
    if path is None and "CI" in os.environ:
        pytest.fail(f"no {name} on this machine")
    if path is None:
        pytest.skip(f"no {name} on this machine")
    return path


def find_of_3(name):
    """Return a program of Prometheus 3 in the folder `KEYGAUGE_PROMETHEUS_3`, or skip the test."""
    path = _FOLDER_OF_3 and shutil.which(name, path=_FOLDER_OF_3)
    if not path:
        pytest.skip(f"no {name} of Prometheus 3: KEYGAUGE_PROMETHEUS_3 names the folder of one")
    return path


PROGRAMS = {"on the path": find_on_path, "3": find_of_3}
AT_HAND = [version for version in PROGRAMS if version != "3" or _FOLDER_OF_3]
