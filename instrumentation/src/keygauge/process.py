"""One process and its runtimes, which start with its first request, restart in a child, and stop before it ends."""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util
import os
import signal
from threading import Lock, Thread, current_thread, main_thread
from types import FrameType
from weakref import WeakSet

from keygauge.runtime import Runtime
from keygauge.settings.settings import Settings
from keygauge.telemetry import process_metrics


class Process:
    """The runtime of one middleware, in whichever process it finds itself."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runtime: Runtime | None = None
        self._stopping = Lock()
        _processes.add(self)
        _outlive_terminate()

    def start(self) -> Runtime:
        """Return the runtime of this process; the first call starts it, from whichever thread."""
        with _Starting.lock:
            if self.runtime is None:
                self.runtime = Runtime(self.settings)
                _end_with_process()
            return self.runtime

    def stop(self) -> None:
        """Stop, or wait for the thread that does; a later request starts anew."""
        with self._stopping:
            runtime, self.runtime = self.runtime, None
            if runtime is not None:
                runtime.stop()

    def forget(self) -> None:
        """Start over in a child process."""
        self.runtime = None
        self._stopping = Lock()


_processes: WeakSet[Process] = WeakSet()


class _Starting:
    """One start at a time: threads of a server may bring a process's first requests at once."""

    lock = Lock()
    ends_with_process = False


def _forget() -> None:
    """Begin anew in a child: threads did not come along, and leases, counts and the spool are the parent's."""
    _Starting.ends_with_process = False
    _Ending.has_begun = _Ending.is_done = False
    _Starting.lock = Lock()  # another thread of the parent may have held it
    for process in list(_processes):
        process.forget()
    process_metrics.forget()


def _stop_all() -> None:
    for process in list(_processes):
        process.stop()


def _end_with_process() -> None:
    """See that a child of `multiprocessing` (a worker of granian) ends well: it never comes to its exit handlers."""
    if multiprocessing.parent_process() is not None and not _Starting.ends_with_process:
        _Starting.ends_with_process = True
        multiprocessing.util.Finalize(None, _end, exitpriority=0)


def _end() -> None:
    _stop_all()
    process_metrics.flush()


class _Ending:
    """The end of this process that a signal to terminate began."""

    has_begun = False
    is_done = False


def _outlive_terminate() -> None:
    """See that a child of `multiprocessing` ships what it has when terminated, where the host lets that kill it.

    hypercorn terminates all workers as soon as the first has ended, amid their own ends.
    """
    if (
        multiprocessing.parent_process() is not None
        and current_thread() is main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _end_before_terminate)


def _end_before_terminate(number: int, _: FrameType | None) -> None:
    """End in a thread of its own, as the main one may hold any lock; signals meanwhile do not cut that short."""
    if _Ending.is_done:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif not _Ending.has_begun:
        _Ending.has_begun = True
        Thread(target=_end_by, args=(number,), name="keygauge-end").start()


def _end_by(number: int) -> None:
    try:
        _end()
    finally:
        _Ending.is_done = True
        os.kill(os.getpid(), number)


os.register_at_fork(after_in_child=_forget)
atexit.register(_stop_all)
