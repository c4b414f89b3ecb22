"""When the demo is killed, the warden ends what it left behind; when it takes leave, the warden does nothing."""

import signal
import subprocess
import sys

import pytest

from keygauge_demo.warden import read_charges

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def sleeper():
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def warden():
    command = [sys.executable, "-m", "keygauge_demo.warden"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_charges_end_with_the_pipe(warden, sleeper):
    warden.stdin.write(f"{signal.SIGTERM.value} {sleeper.pid}\n")
    warden.stdin.close()
    assert sleeper.wait(100) == -signal.SIGTERM
    assert warden.wait(100) == 0


def test_charges_outlive_a_warden_that_was_dismissed(warden, sleeper):
    warden.communicate(f"{signal.SIGTERM.value} {sleeper.pid}\ndone\n", timeout=100)
    assert warden.returncode == 0
    assert sleeper.poll() is None


def test_processes_that_are_gone_do_no_harm(warden, sleeper):
    sleeper.kill()
    sleeper.wait()
    warden.communicate(f"{signal.SIGTERM.value} {sleeper.pid}\n", timeout=100)
    assert warden.returncode == 0


def test_ctrl_c_is_left_to_the_demo(warden, sleeper):
    warden.stdin.write(f"{signal.SIGTERM.value} {sleeper.pid}\n")
    warden.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        warden.wait(0.5)
    warden.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        warden.wait(0.2)
    assert sleeper.poll() is None


def test_charges_are_read_in_order():
    assert read_charges(["2 10\n", "15 11\n"]) == [(2, 10), (15, 11)]
    assert read_charges(["2 10\n", "done\n"]) is None
