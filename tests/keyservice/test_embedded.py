"""The embedded PostgreSQL stops with the last process that uses it, even if others were killed."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from keygauge_keyservice import embedded

USER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from keygauge_keyservice import embedded
    server = embedded.start(Path(sys.argv[1]))
    print(server.get_pid(), flush=True)
    sys.stdin.read()
""")

# The first process of root creates the system user. A fake `useradd` creates it here, and `pwd` finds it only then.
USERADD = """#!/bin/sh
[ -e "{made}" ] && exit 9
sleep 0.5
[ -e "{made}" ] && exit 9
touch "{made}"
"""
FIRST_OF_ROOT = textwrap.dedent("""
    import pwd
    from pathlib import Path
    find = pwd.getpwnam
    def find_made(name):
        if name == "pgserver" and not Path("{made}").exists():
            raise KeyError(name)
        return find(name)
    pwd.getpwnam = find_made
""")


class _User:
    """A process that uses the PostgreSQL of a directory until its standard input is closed."""

    def __init__(self, directory):
        self._process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.server_pid = int(self._process.stdout.readline())

    def end(self):
        self._process.communicate(timeout=100)
        assert self._process.returncode == 0

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=100)


def _runs(pid):
    """Return whether a process is running. Zombies count as stopped: in a container, nothing may reap them."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="keygauge-test-", ignore_cleanup_errors=True) as directory:
        yield Path(directory) / "postgresql"
        postmaster = Path(directory) / "postgresql" / "postmaster.pid"
        if postmaster.exists():  # the test failed
            os.kill(int(postmaster.read_text().split()[0]), signal.SIGQUIT)


def test_killed_process_does_not_keep_the_server_running(directory):
    _User(directory).kill()
    later = _User(directory)
    assert _runs(later.server_pid)
    later.end()
    assert not _runs(later.server_pid)


def test_process_killed_while_others_run_does_not_keep_the_server_running(directory):
    killed, other, last = (_User(directory) for _ in range(3))
    killed.kill()
    other.end()
    assert _runs(last.server_pid)  # one process still uses it
    last.end()
    assert not _runs(last.server_pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="the system user is only created for root")
def test_concurrent_starts_create_the_system_user_once(directory, postgresql):
    made, useradd = directory.parent / "made", directory.parent / "useradd"
    useradd.write_text(USERADD.format(made=made))
    useradd.chmod(0o755)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_OF_ROOT.format(made=made) + USER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PATH": f"{directory.parent}:{os.environ['PATH']}"},
        )
        for _ in range(3)
    ]
    pids = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate(timeout=100)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(pids)) == 1


def test_killed_postgresql_is_restarted(directory):
    server = embedded.start(directory)
    try:
        watch, before = embedded.Watch(directory), server.get_pid()
        watch.check()
        assert server.get_pid() == before
        os.kill(before, signal.SIGKILL)
        until = time.monotonic() + 60
        while server.get_pid() == before:
            assert time.monotonic() < until
            time.sleep(0.05)
            watch.check()  # its children may outlive it briefly and keep a new server from starting
        with psycopg.connect(server.get_uri()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.cleanup()
