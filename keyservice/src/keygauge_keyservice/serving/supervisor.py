"""The supervisor of `keygauge serve`, which holds the sockets and starts and replaces workers."""

from __future__ import annotations

import logging
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from keygauge_keyservice.serving.assignment import GRACEFUL_S, READY, Assignment, Role

_WORKER = "keygauge_keyservice.serving"
_log = logging.getLogger(__name__)

_KILL_S = GRACEFUL_S + 4.0  # until a worker that was asked to stop is killed
_AGAIN_S = 1.0  # before the next start if a worker exited before it was ready
_LOOK_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StartError(RuntimeError):
    """A failure of the first workers to start; they print the reason on stderr."""


@dataclass(frozen=True)
class Group:
    """Workers with the same role."""

    role: Role
    workers: int
    threads: int
    listeners: Sequence[socket.socket]
    pages: str | None = None


@dataclass(eq=False)
class _Child:
    group: Group
    process: subprocess.Popen[bytes]
    channel: socket.socket
    is_ready: bool = False
    replaces: list[_Child] = field(default_factory=list)  # stopped once this one is ready
    kill_at: float | None = None


class Supervisor:
    """Runs groups of workers until it is stopped."""

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        environ: Mapping[str, str],
        on_ready: Callable[[], None] = lambda: None,
        on_exit: Callable[[int], None] = lambda _: None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._groups = groups
        self._environ = environ
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._on_turn = on_turn
        self._children: list[_Child] = []
        self._start_at: list[tuple[float, Group]] = []
        self._gives_up = False  # a worker exited by itself before it was ready: the next one would too
        self._received: list[int] = []

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP starts new workers, and stops the old ones once those are ready.

        Raises:
            StartError: the first workers did not start.
        """
        wake_up = _wake_up_by_signals(self._received)
        self._start_all()
        was_ready = False
        while not {signal.SIGTERM, signal.SIGINT} & set(self._received):
            self._wait(wake_up)
            self._on_turn()
            if not was_ready and self._children and all(child.is_ready for child in self._children):
                was_ready = True
                self._on_ready()
            if not was_ready and self._gives_up:
                self._end()
                raise StartError("a worker did not start: see above")
            if signal.SIGHUP in self._received:
                self._received.clear()
                self._start_all(self._children)
            self._kill_late()
            self._start_due()
        self._end()

    def _start_all(self, old: Sequence[_Child] = ()) -> None:
        for group in self._groups:
            replaced = [child for child in old if child.group is group and child.kill_at is None]
            for number in range(group.workers):
                self._start(group, replaces=replaced[number :: group.workers])

    def _start(self, group: Group, *, replaces: list[_Child]) -> None:
        ours, theirs = socket.socketpair()
        descriptors = tuple(listener.fileno() for listener in group.listeners)
        assignment = Assignment(group.role, descriptors, theirs.fileno(), group.threads, group.pages)
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-X", "faulthandler", "-m", _WORKER, assignment.write()],  # crashes print tracebacks
            env=dict(self._environ),
            pass_fds=(*descriptors, theirs.fileno()),
        )
        theirs.close()
        ours.settimeout(0)
        self._children.append(_Child(group, process, ours, replaces=replaces))

    def _wait(self, wake_up: socket.socket) -> None:
        channels = {child.channel: child for child in self._children}
        readable, _, _ = select.select([wake_up, *channels], [], [], _LOOK_S)
        for channel in readable:
            if channel is wake_up:
                wake_up.recv(64)
            elif channel.recv(1) == READY:
                self._hand_over(channels[channel])
            else:
                self._reap(channels[channel])

    def _hand_over(self, child: _Child) -> None:
        child.is_ready = True
        for old in child.replaces:
            _terminate(old)
        child.replaces = []

    def _reap(self, child: _Child) -> None:
        child.channel.close()
        status = child.process.wait()
        self._children.remove(child)
        self._on_exit(child.process.pid)
        if child.kill_at is not None:
            return
        _log.error("worker %s (%d) ended with %d", child.group.role, child.process.pid, status)
        self._gives_up = not child.is_ready and status > 0  # below 0: a signal
        if not child.replaces:  # otherwise the workers it was to replace continue
            self._start_at.append((time.monotonic() + (0.0 if child.is_ready else _AGAIN_S), child.group))

    def _start_due(self) -> None:
        due = [entry for entry in self._start_at if entry[0] <= time.monotonic()]
        for entry in due:
            self._start_at.remove(entry)
            self._start(entry[1], replaces=[])

    def _kill_late(self) -> None:
        for child in self._children:
            if child.kill_at is not None and child.kill_at <= time.monotonic():
                child.process.kill()

    def _end(self) -> None:
        for group in self._groups:
            for listener in group.listeners:
                listener.close()
        for child in self._children:
            _terminate(child)
        for child in self._children:
            try:
                child.process.wait(_KILL_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def _terminate(child: _Child) -> None:
    child.kill_at = time.monotonic() + _KILL_S
    child.process.terminate()


def _wake_up_by_signals(received: list[int]) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    theirs.settimeout(0)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: received.append(number))
    theirs.detach()  # it stays open for the life of the process
    return ours
