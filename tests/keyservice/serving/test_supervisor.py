import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ports import free_port


@pytest.fixture
def starting(empty_database_url, tmp_path):
    """Start `keygauge serve`; return it and the process id of its first worker, which is still starting."""
    with subprocess.Popen(
        [sys.executable, "-m", "keygauge.cli", "serve", "--port", str(free_port())],
        env=os.environ | {"KEYGAUGE_DATABASE_URL": empty_database_url, "KEYGAUGE_DATA_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (workers := children.read_text().split()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        yield process, int(workers[0])
        process.terminate()


def read_until(process, text):
    log = ""
    while text not in log:
        line = process.stderr.readline()
        assert line, log
        log += line
    return log


def test_a_worker_that_crashes_while_starting_is_restarted(starting):
    process, worker = starting
    os.kill(worker, signal.SIGKILL)
    assert f"({worker}) ended with -9" in read_until(process, "Portal:")  # printed when all are ready
