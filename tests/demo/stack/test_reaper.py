"""The reaper stops the remaining processes if the demo is killed, and does nothing after `done`."""

import signal
import subprocess
import sys

import pytest

from keygauge_demo.stack.reaper import read_processes

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def sleeper():
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def reaper():
    command = [sys.executable, "-m", "keygauge_demo.stack.reaper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_processes_end_with_the_pipe(reaper, sleeper):
    reaper.stdin.write(f"{signal.SIGTERM.value} {sleeper.pid}\n")
    reaper.stdin.close()
    assert sleeper.wait(100) == -signal.SIGTERM
    assert reaper.wait(100) == 0


def test_processes_are_left_running_after_done(reaper, sleeper):
    reaper.communicate(f"{signal.SIGTERM.value} {sleeper.pid}\ndone\n", timeout=100)
    assert reaper.returncode == 0
    assert sleeper.poll() is None


def test_ended_processes_are_ignored(reaper, sleeper):
    sleeper.kill()
    sleeper.wait()
    reaper.communicate(f"{signal.SIGTERM.value} {sleeper.pid}\n", timeout=100)
    assert reaper.returncode == 0


def test_ctrl_c_is_ignored(reaper, sleeper):
    reaper.stdin.write(f"{signal.SIGTERM.value} {sleeper.pid}\n")
    reaper.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        reaper.wait(0.5)
    reaper.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        reaper.wait(0.2)
    assert sleeper.poll() is None


def test_processes_are_read_in_order():
    assert read_processes(["2 10\n", "15 11\n"]) == [(2, 10), (15, 11)]
    assert read_processes(["2 10\n", "done\n"]) is None
