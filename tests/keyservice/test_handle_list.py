"""The list of processes that use an embedded PostgreSQL, without ended processes and processes that reuse their ids."""

import os
import subprocess
import warnings

import psutil
import pytest


@pytest.fixture
def handle_list(tmp_path):
    with warnings.catch_warnings(action="ignore"):  # the package warns that XDG_RUNTIME_DIR is not set
        from keygauge_keyservice.handle_list import HandleList  # noqa: PLC0415 - needs the extra
    return HandleList(tmp_path / "pids.json")


def test_reused_pid_is_not_listed(handle_list):
    handle_list.put([os.getpid(), os.getppid()])
    assert handle_list.get_and_add(os.getpid()) == [os.getpid(), os.getppid()]
    before_us_s = psutil.Process().create_time() - 3_600
    os.utime(handle_list.path, (before_us_s, before_us_s))
    assert os.getpid() not in handle_list.get_and_add(1)


def test_zombie_is_not_listed(handle_list):
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        handle_list.put([dead.pid, os.getpid()])
        assert handle_list.get_and_remove(os.getpid()) == [os.getpid()]


def test_running_processes_stay_listed(handle_list):
    assert handle_list.get_and_add(os.getpid()) == []
    assert handle_list.get_and_add(os.getppid()) == [os.getpid()]
    handle_list.get_and_remove(os.getppid())
    assert handle_list.get_and_remove(os.getpid()) == [os.getpid()]
    assert handle_list.get_and_add(os.getpid()) == []


def test_ended_process_is_not_listed(handle_list):
    with subprocess.Popen(["true"]) as ended:
        pass
    handle_list.put([ended.pid, os.getpid()])
    assert handle_list.get_and_add(os.getpid()) == [os.getpid()]
