"""The process and its runtimes: started by its first request, restarted in child processes, stopped before it exits."""

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
    """The runtime of one middleware in the current process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runtime: Runtime | None = None
        self._stopping = Lock()
        _processes.add(self)
        _outlive_terminate()

    def start(self) -> Runtime:
        """Return the runtime of this process; the first call starts it. Thread-safe."""
        with _Starting.lock:
            if self.runtime is None:
                self.runtime = Runtime(self.settings)
                _end_with_process()
            return self.runtime

    def stop(self) -> None:
        """Stop the runtime, or wait for the thread that is stopping it; a later request starts a new one."""
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
    """The lock for starts: a server's threads may handle a process's first requests concurrently."""

    lock = Lock()
    ends_with_process = False


def _forget() -> None:
    """Reset in a child process: threads do not survive a fork; leases, counts and the spool are the parent's."""
    _Starting.ends_with_process = False
    _Ending.has_begun = _Ending.is_done = False
    _Starting.lock = Lock()  # another thread of the parent may hold the old one
    for process in list(_processes):
        process.forget()
    process_metrics.forget()


def _stop_all() -> None:
    for process in list(_processes):
        process.stop()


def _end_with_process() -> None:
    """Stop at the end of a `multiprocessing` child, such as a granian worker, which skips `atexit` handlers."""
    if multiprocessing.parent_process() is not None and not _Starting.ends_with_process:
        _Starting.ends_with_process = True
        multiprocessing.util.Finalize(None, _end, exitpriority=0)


def _end() -> None:
    _stop_all()
    process_metrics.flush()


class _Ending:
    """The state of the shutdown that SIGTERM started."""

    has_begun = False
    is_done = False


def _outlive_terminate() -> None:
    """Let a `multiprocessing` child ship its events on SIGTERM, if the host left the default handler in place.

    hypercorn terminates all workers as soon as the first has ended, while they are still shutting down.
    """
    if (
        multiprocessing.parent_process() is not None
        and current_thread() is main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _end_before_terminate)


def _end_before_terminate(number: int, _: FrameType | None) -> None:
    """Shut down in a new thread, as the main thread may hold any lock; further signals do not interrupt that."""
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
