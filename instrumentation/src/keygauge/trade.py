"""The trade with the key service: leases asked for, given back and taken in, as parts of the beat's messages."""

from __future__ import annotations

from itertools import islice
from typing import Any

from keygauge.admission import Admission
from keygauge.allowance import Allowance
from keygauge.clock import MS
from keygauge.lease import Lease

_MOST = 500  # acquisitions or returns in one beat: see docs/protocol.md

Asked = dict[str, tuple[Allowance, int]]  # by limit, with the units


class Trade:
    """Speaks for an `Admission`. Offers are made one at a time: the next when the last was answered or given up."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def offer(self, *, stopping: bool = False) -> tuple[dict[str, Any], Asked]:
        """Write what this process asks for and gives back; take the clock for the sending after this."""
        admission = self._admission
        with admission.lock:
            now = admission.clock()
            asking = [] if stopping else list(islice(admission.asking, _MOST))
            admission.asking.difference_update(asking)
            if admission.asking:
                admission.wake()
            returns = self._returns(now, everything=stopping)
            demands = [(allowance, *allowance.demand(now)) for allowance in asking]
        acquire = [
            {"limit": allowance.limit.id, "units": units, "waiting": waiting} for allowance, units, waiting in demands
        ]
        asked = {allowance.limit.id: (allowance, units) for allowance, units, _ in demands}
        return {"acquire": acquire, "return": returns}, asked

    def give_up(self, asked: Asked) -> None:
        """Note that an offer was not answered: what was asked may be asked again. The caller holds the lock."""
        for allowance, _ in asked.values():
            allowance.asked = False

    def take(self, answer: dict[str, Any], sent_ns: int, asked: Asked) -> None:
        """Take in what the answer grants and denies; the caller holds the lock.

        Times left count from when the offer was sent: they end never later than the service thinks. Those to wait
        count from now: they end never sooner.
        """
        admission = self._admission
        now = admission.clock()
        self.give_up(asked)  # those that are not in the answer
        for grant in answer["grants"]:
            allowance, units = asked[grant["limit"]]
            allowance.small = grant["small"]
            allowance.share = allowance.limit.amount // answer["replicas"]
            allowance.rest = grant["remaining"] // answer["replicas"]
            lease = Lease(
                grant["lease"],
                grant["units"],
                sent_ns + grant["left_ms"] * MS,
                now_ns=now,
                start_ns=now + grant["start_us"] * 1000 if grant["start_us"] else 0,
                exact=grant["exact"],
            )
            allowance.grant(lease, now, reset_ns=sent_ns + grant["reset_ms"] * MS, covers=grant["units"] >= units)
            admission.held.add(allowance)
        for denial in answer["denials"]:
            allowance, _ = asked[denial["limit"]]
            allowance.small = denial["small"]
            allowance.deny(now, sent_ns + denial["retry_ms"] * MS)
        if not answer["more"]:
            admission.authority_ns = sent_ns + answer["t_max_ms"] * MS

    def _returns(self, now: int, *, everything: bool) -> list[dict[str, Any]]:
        admission = self._admission
        returns: list[dict[str, Any]] = []
        for allowance in list(admission.held):
            if len(returns) >= _MOST:
                admission.wake()
                break
            returns += allowance.give_back(now, everything=everything)
            if not allowance.leases and not allowance.closing:
                admission.held.discard(allowance)
        return returns[:_MOST]
