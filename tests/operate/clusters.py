"""PostgreSQL servers from a distribution's package: created, copied, promoted and killed like an operator's."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from polling import until
from ports import free_port

_USER = "postgres"


def binaries():
    """Return the folder with the newest installed server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """One server with its data directory; root runs it as another user, as PostgreSQL requires."""

    def __init__(self, *, settings=""):
        self.directory = Path(tempfile.mkdtemp(prefix="keygauge-cluster-"))
        self.data = self.directory / "data"
        self.port = free_port()
        self._settings = settings
        self._frozen = []
        if os.geteuid() == 0:
            shutil.chown(self.directory, _USER)

    def make(self, *options):
        """Create a new database cluster and start it."""
        self.run(
            "initdb", "-D", self.data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", *options
        )
        self.configure()
        return self.start()

    def configure(self):
        """Write the settings of this server, with its own port."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
                f"max_connections = 50\nsynchronous_standby_names = ''\n{self._settings}\n"
            )

    def url(self, database="postgres", *, port=None):
        return f"postgresql://{_USER}@127.0.0.1:{port or self.port}/{database}"

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-l", self.directory / "log", "-w", "-s", "start")
        return self

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "-m", mode, "stop", check=False)

    def freeze(self):
        """Stop all its processes while the kernel keeps its connections, as if its disk hung."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        self._frozen = [postmaster, *map(int, children)]
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        """Let its processes continue."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def kill(self):
        """Kill it, like a power failure."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:  # its child processes end by themselves
            try:
                psycopg.connect(self.url(), connect_timeout=1).close()
            except psycopg.OperationalError:
                return
            time.sleep(0.05)

    def promote(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "promote")

    def save(self):
        """Copy the data of the stopped server."""
        self.run("cp", "-a", self.data, self.directory / "saved", program=True)

    def restore(self):
        """Replace the data with the copy."""
        shutil.rmtree(self.data)
        self.run("cp", "-a", self.directory / "saved", self.data, program=True)

    def standby(self, *, settings=""):
        """Create and start a standby of this server."""
        return Cluster(settings=settings).follow(self)

    def follow(self, primary):
        """Start as a standby of another server, on this server's port, with a copy of the other's data."""
        shutil.rmtree(self.data, ignore_errors=True)
        source = f"host=127.0.0.1 port={primary.port} user={_USER} application_name=standby"
        primary.run("pg_basebackup", "-D", self.data, "-d", source, "-R", "-c", "fast")
        self.configure()
        return self.start()

    def wait_for_standby(self):
        """Acknowledge commits from now on only when a standby has them on disk too."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.execute("SELECT pg_reload_conf()")
        until(lambda: self.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def execute(self, statement, database="postgres"):
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def delete(self):
        self.thaw()
        self.stop("immediate")
        shutil.rmtree(self.directory)

    def run(self, name, *arguments, check=True, program=False):
        command = [name if program else binaries() / name, *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", *command]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=60, cwd=self.directory, check=False
        )
        assert not check or done.returncode == 0, done.stderr + done.stdout
