"""The processes that use an embedded PostgreSQL: the dead are left out, and those that got their ids since."""

import os
import subprocess
import warnings

import psutil
import pytest


@pytest.fixture
def handle_list(tmp_path):
    with warnings.catch_warnings(action="ignore"):  # the package's, that XDG_RUNTIME_DIR is not set
        from keygauge_keyservice.handle_list import HandleList  # noqa: PLC0415 - it needs the extra
    return HandleList(tmp_path / "pids.json")


def test_a_number_that_another_process_got_since_is_not_in_the_list(handle_list):
    handle_list.put([os.getpid(), os.getppid()])
    assert handle_list.get_and_add(os.getpid()) == [os.getpid(), os.getppid()]
    before_us_s = psutil.Process().create_time() - 3_600
    os.utime(handle_list.path, (before_us_s, before_us_s))
    assert os.getpid() not in handle_list.get_and_add(1)


def test_a_process_that_nobody_waited_for_is_not_in_the_list(handle_list):
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        handle_list.put([dead.pid, os.getpid()])
        assert handle_list.get_and_remove(os.getpid()) == [os.getpid()]


def test_those_that_run_stay_and_an_empty_list_is_one(handle_list):
    assert handle_list.get_and_add(os.getpid()) == []
    assert handle_list.get_and_add(os.getppid()) == [os.getpid()]
    handle_list.get_and_remove(os.getppid())
    assert handle_list.get_and_remove(os.getpid()) == [os.getpid()]
    assert handle_list.get_and_add(os.getpid()) == []


def test_a_process_that_has_ended_is_not_in_the_list(handle_list):
    with subprocess.Popen(["true"]) as ended:
        pass
    handle_list.put([ended.pid, os.getpid()])
    assert handle_list.get_and_add(os.getpid()) == [os.getpid()]
