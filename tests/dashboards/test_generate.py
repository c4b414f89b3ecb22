import os
import subprocess
import sys
from pathlib import Path

import pytest

from keygauge_dashboards.generate import GENERATED, generate, stale, write
from keygauge_dashboards.thresholds import Thresholds

SCRIPT = (
    "from keygauge_dashboards.generate import generate; from keygauge_dashboards.thresholds import Thresholds; "
    "print(sorted((str(path), text) for path, text in generate(Thresholds()).items()))"
)


@pytest.fixture(scope="module")
def files():
    return generate(Thresholds())


def test_generation_is_the_same_in_every_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_committed_files_are_up_to_date(root, files):
    assert stale(root, files) == [], "run `make dashboards` and commit"


def test_build_writes_missing_and_changed_files_and_deletes_obsolete_ones(tmp_path, files):
    assert write(tmp_path, files) == sorted(files)
    assert write(tmp_path, files) == []
    changed, gone = min(files), GENERATED / "grafana/dashboards/keygauge-gone.json"
    (tmp_path / changed).write_text("edited by hand")
    (tmp_path / gone).write_text("{}")
    assert write(tmp_path, files) == sorted([changed, gone])
    assert not (tmp_path / gone).exists()
    assert stale(tmp_path, files) == []


def test_generated_files_contain_no_home_directory(files):
    for text in files.values():
        assert str(Path.home()) not in text
