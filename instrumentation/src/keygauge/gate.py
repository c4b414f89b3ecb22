"""The gate: from a request's credential to admitted, refused, or wait for the key service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from keygauge import key as key_format
from keygauge.admission import UNAVAILABLE, UNKNOWN, WRONG_IP, WRONG_ROUTE, Cold, Dry, Refusal
from keygauge.beat import Beat, Round
from keygauge.call import INVALID, Call
from keygauge.clock import now_ns
from keygauge.credential import Conflict
from keygauge.keyring import Key
from keygauge.problem import CONFLICT, MISSING
from keygauge.ratelimit import Fields
from keygauge.restriction import FREE, Restriction

FindRoute = Callable[[], str]
Decision = Refusal | Round | None  # None: admitted; a round: decide again when it has ended


class Gate:
    """Decides over calls. Waiting is the caller's: an event loop and a thread wait differently.

    Where it does not enforce, it says who calls and refuses nobody.
    """

    def __init__(self, beat: Beat, *, enforces: bool) -> None:
        self._beat = beat
        self._admission = beat.admission
        self._enforces = enforces

    def decide(self, call: Call, token: bytes | Conflict | None, find_route: FindRoute) -> Decision:
        """Decide, and write into the call whose it is and the outcome; never waits.

        `find_route` tells the route before the host has matched it, and is asked only where the key is restricted.
        """
        if token is None:
            return self._refuse(call, MISSING)
        call.key = INVALID  # until it is known to be more
        if isinstance(token, Conflict):
            return self._refuse(call, CONFLICT)
        digest = hashlib.sha256(token).digest()
        found = self._admission.recognise(digest)
        if isinstance(found, tuple):
            return self._admit(call, *found, find_route)
        if isinstance(found, Cold):
            return self._look_up(call, token, digest)
        return self._refuse(call, found)

    def give_up(self, call: Call) -> Refusal | None:
        """Decide when the key service did not answer in time."""
        return self._refuse(call, UNAVAILABLE)

    def fields(self, call: Call) -> Fields:
        """Write the header fields that tell the caller its limits."""
        key = self._admission.keyring.keys.get(call.key) if self._enforces else None
        return key.policy.fields(now_ns()) if key else []

    def _admit(self, call: Call, key: Key, secret: int, find_route: FindRoute) -> Decision:
        call.key = key.id
        call.account = key.account
        call.scopes = key.scopes
        refusal = self._admission.check(key, secret, call.time_ns) or _restrict(call, key.restriction, find_route)
        if refusal is not None:
            return self._refuse(call, refusal)
        if not self._enforces:
            return None
        decision = self._admission.admit(key)
        if decision is None:
            return None
        if isinstance(decision, Refusal):
            return self._refuse(call, decision)
        return self._ask(decision)

    def _ask(self, dry: Dry) -> Round:
        """Take the round first: what is asked after that is carried by it or by a later one, never by an earlier."""
        coming = self._beat.next_round()
        self._admission.ask(dry)
        return coming

    def _look_up(self, call: Call, token: bytes, digest: bytes) -> Decision:
        """Ask for a key that is not known here; a wrong checksum never reaches the key service."""
        try:
            key_id = key_format.parse(token.decode("ascii"))
        except UnicodeDecodeError:
            key_id = None
        if key_id is None:
            return self._refuse(call, UNKNOWN)
        return self._beat.look_up(digest, key_id)

    def _refuse(self, call: Call, refusal: Refusal) -> Refusal | None:
        call.outcome = refusal.outcome
        if not self._enforces:
            return None
        call.error = refusal.code
        call.limit = refusal.limit
        return refusal


def _restrict(call: Call, restriction: Restriction, find_route: FindRoute) -> Refusal | None:
    if restriction is FREE:
        return None
    if not restriction.admits_ip(call.ip):
        return WRONG_IP
    if restriction.routes is None:
        return None
    call.route = find_route()
    return None if restriction.admits_route(call.route) else WRONG_ROUTE
