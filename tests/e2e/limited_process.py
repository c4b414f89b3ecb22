"""One process of a metered service, without HTTP: calls the middleware's authorizer and records each admission.

`limited_process.py <file> <pause between calls, s>`, with the middleware's environment and `TOKENS`. Each record is the
key's index and the time of admission by the clock that all processes of a host share.
"""

import os
import struct
import sys
import threading
import time
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress

from keygauge.call import Call
from keygauge.clock import SECOND, now_ns
from keygauge.limits.authorizer import Authorizer
from keygauge.limits.refusal import Refusal
from keygauge.settings.settings import Settings
from keygauge.sync.heartbeat import Heartbeat

RECORD = struct.Struct("<iq")


class Clock:
    """The clock, which remembers its last reading in this thread."""

    def __init__(self):
        self.thread = threading.get_ident()
        self.last = 0

    def __call__(self):
        now = now_ns()
        if threading.get_ident() == self.thread:
            self.last = now
        return now


def make_authorizer(on_fault=lambda _reason: None, **options):
    settings = Settings.from_environment(**options)
    heartbeat = Heartbeat(settings, on_fault=on_fault, streams=())
    clock = heartbeat.admission.clock = Clock()
    heartbeat.start()
    return heartbeat, Authorizer(heartbeat, enforces=True, wait_s=settings.wait_s), clock


def make_call():
    return Call(method="GET", ip=None, time_ns=time.time_ns(), started_ns=now_ns())


def call(authorizer, token, wait_s=1.0):
    """Make one call; return None if it is admitted, else the refusal."""
    return wait(authorizer, make_call(), token, wait_s)


def wait(authorizer, made, token, wait_s=1.0):
    """Wait for the decision on a call; return None if it is admitted, else the refusal."""
    until_ns = now_ns() + round(wait_s * SECOND)
    try:
        while (decision := authorizer.decide(made, token)) is not None and not isinstance(decision, Refusal):
            if now_ns() >= until_ns:
                return authorizer.give_up(made)
            at_ns = until_ns if decision.at_ns is None else min(decision.at_ns, until_ns)
            with suppress(NotYet):
                decision.woken.result(max(at_ns - now_ns(), 0) / SECOND)
        return decision
    finally:
        authorizer.leave(made)


def main():
    file, pause_s = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), float(sys.argv[2])
    tokens = [token.encode() for token in os.environ["TOKENS"].split(",")]
    _, authorizer, clock = make_authorizer(spool_dir=".")
    while True:
        for place, token in enumerate(tokens):
            if call(authorizer, token) is None:
                os.write(file, RECORD.pack(place, clock.last))
            time.sleep(pause_s)


if __name__ == "__main__":
    main()
