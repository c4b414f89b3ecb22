"""The authorizer, which turns a request's credential into a decision: admit, refuse, or wait for the key service."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from copy import copy
from hashlib import sha256
from typing import Protocol

from keygauge import key as key_format
from keygauge.call import INVALID, PART, Call
from keygauge.clock import SECOND
from keygauge.limits.admission import Admission, Reservation, Short
from keygauge.limits.answered_models import Model, requested_by
from keygauge.limits.cost import Costing
from keygauge.limits.credential import Conflict
from keygauge.limits.key_cache import Key
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import TOKENS
from keygauge.limits.reading.estimate import Estimate
from keygauge.limits.refusal import (
    BAD_CAP,
    CONFLICT,
    MISSING,
    PAUSED,
    TOO_MANY_KEYS,
    UNAVAILABLE,
    UNKNOWN,
    UNREADABLE,
    WRONG_IP,
    WRONG_MODEL,
    WRONG_ROUTE,
    WRONG_TOOL,
    Refusal,
)
from keygauge.limits.waiter import Wait
from keygauge.pricing.rates import Rates
from keygauge.usage import operations
from keygauge.usage.counts import UNREPORTED
from keygauge.usage.provider_rules import ProviderRules
from keygauge.weights import TOKEN_COUNTS

# Done when the heartbeat that carries all earlier requests has ended; False if the key service did not answer.
PendingHeartbeat = Future[bool]


class Sync(Protocol):
    """The part of the connection to the key service that decisions need; requests go with the next heartbeat."""

    admission: Admission
    costing: Costing

    def look_up(self, digest: bytes, key_id: str, ip: str | None) -> PendingHeartbeat | None:
        """Look up a key that is not known here; None if too many look-ups are pending, in total or for this address."""

    def look_up_again(self, digest: bytes, key_id: str) -> None:
        """Refresh a key whose entry may be out of date, with the next regular heartbeat."""

    def next_round(self) -> PendingHeartbeat:
        """Return the next heartbeat."""

    def wake(self) -> None:
        """Send the next heartbeat at once."""


class NeedsBody:
    """The key's limits need the route or the body: read them, then decide again."""

    __slots__ = ("needs_body", "needs_model", "needs_route")  # a call whose models and tools are unclear is refused

    def __init__(self, key: Key) -> None:
        self.needs_body = key.needs_body
        self.needs_route = key.needs_route
        self.needs_model = key.needs_model or bool(key.tool_limits) or key.key_policy.tools is not None


# None: admitted. After `Wait`, decide again when it is over; after `NeedsBody`, with the route and the estimate.
Decision = Refusal | Wait | NeedsBody | None
_Undecided = Refusal | Short | NeedsBody | Wait | None  # `Short` has the waiter

_ANY = Estimate()
_LONGEST_NS = 5 * SECOND  # longest wait of a call while the key service answers, unless `wait_s` is longer


def _is_estimate(lease_pool: LeasePool, _: Lease, units: int) -> bool:
    """Return whether a reservation is an estimate of usage that only the answer reveals."""
    return (
        lease_pool.limit.unit in TOKENS
        or lease_pool.limit.weights is not None
        or (lease_pool.limit.unit == "nanousd" and units > 1)
    )


def _has_failed(call: Call) -> bool:
    """Return whether a call used nothing."""
    if call.usage is not None:
        return False
    return call.is_free or (call.status >= 400 and not call.is_broken)  # noqa: PLR2004 - HTTP


def _used(call: Call, reservation: Reservation, *, failed: bool, requests: int) -> dict[object, int | None]:
    """Return the tokens and weighted units that a call used; empty if unknown."""
    is_told = call.usage_status == "reported" and call.usage is not None
    if not (is_told or failed):
        return {}
    usage = (call.usage if is_told else None) or UNREPORTED
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    used: dict[object, int | None] = {"token": given + made, "input_token": given, "output_token": made}
    for part in reservation.parts:
        if (weights := part[0].limit.weights) is not None:
            counts = {name: getattr(usage, name) or 0 for name in TOKEN_COUNTS}
            used[weights] = weights.units(requests=requests, **counts)
    return used


def _is_money(lease_pool: LeasePool, *_: object) -> bool:
    return lease_pool.limit.unit == "nanousd"


class Authorizer:
    """Decides on calls. Waiting is up to the caller, as an event loop and a thread wait differently.

    Without `enforces`, it identifies callers and refuses nobody.
    """

    def __init__(
        self,
        sync: Sync,
        *,
        enforces: bool,
        wait_s: float,
        providers: ProviderRules | None = None,
        takes_imported: bool = False,
    ) -> None:
        self._sync = sync
        self._wait_ns = int(wait_s * SECOND)
        self._admission = sync.admission
        self._key_cache = sync.admission.key_cache
        self._costing = sync.costing
        self._enforces = enforces
        self._takes_imported = takes_imported
        self._providers = providers or ProviderRules()

    def decide(self, call: Call, token: bytes | Conflict | None) -> Decision:
        """Decide on a call, and store its key, account and outcome in it; never waits."""
        if token is None:
            return self._refuse(call, MISSING)
        if token is Conflict.CONFLICT:
            call.key = INVALID
            return self._refuse(call, CONFLICT)
        digest = sha256(token).digest()
        key_cache = self._key_cache
        credential = key_cache.credentials.get(digest)
        if credential is not None and (key := key_cache.keys.get(credential[0])) is not None:
            return self._admit(call, key, credential[1])
        call.lose_key()  # until it is found (again)
        if (unknown := key_cache.find_unknown(digest, self._admission.clock())) is not None:
            return self._refuse(call, unknown)
        if (expired := key_cache.recall(digest, self._admission.clock())) is not None:
            key, secret = expired
            self._sync.look_up_again(digest, key.id)
            return self._admit(call, key, secret)
        return self._look_up(call, token, digest)

    def waits_until_ns(self, since_ns: int) -> int:
        """Return until when a call that waits since `since_ns` may wait: not long while the key service is away."""
        return since_ns + (self._wait_ns if self._admission.away else max(self._wait_ns, _LONGEST_NS))

    def give_up(self, call: Call) -> Refusal | None:
        """Decide when the key service did not answer in time."""
        return self._refuse(call, UNAVAILABLE)

    def leave(self, call: Call) -> None:
        """Note that a call no longer waits, for any reason."""
        if call.waiter is not None:
            self._admission.leave(call.waiter)
            call.waiter = None

    def refuse_cap(self, call: Call) -> Refusal | None:
        """Decide on a request that declares an invalid output cap."""
        return self._refuse(call, BAD_CAP)

    def mark_estimated(self, call: Call) -> None:
        """Mark the unknown usage of a call as estimated if all that it had reserved is charged for it."""
        if not _has_failed(call) and any(_is_estimate(*part) for part in call.reservation.parts):
            call.usage_status = "estimated"

    def settle(self, call: Call) -> None:
        """Settle a call's reservation: charge what it used, nothing if it failed, or everything if that is unknown."""
        reservation = call.reservation
        if reservation is None:
            return
        call.reservation = None
        usage, charged = call.usage, call.charged
        if usage is not None and charged is not None:
            call = copy(call)
            call.usage = usage = usage.beyond(charged)
        failed = _has_failed(call)
        money = tuple(part for part in reservation.parts if _is_money(*part)) if call.is_budgeted else ()
        if money:  # settled separately: it may have to wait for a price, which must not delay the rest
            reservation = Reservation(tuple(part for part in reservation.parts if not _is_money(*part)))
        try:
            # A session's request is counted when it is first charged, and the parts of a call are no requests.
            requests = int(charged is None and call.outcome != PART)
            self._admission.settle(reservation, _used(call, reservation, failed=failed, requests=requests))
        finally:
            if money:
                self._settle_money(Reservation(money), call, failed=failed)

    def _settle_money(self, reservation: Reservation, call: Call, *, failed: bool) -> None:
        try:
            self._costing.settle(self._admission, reservation, call, failed=failed)
        except Exception:
            self._admission.settle(reservation, {})  # the cost is unknown: the reservation stays charged
            raise

    def _admit(self, call: Call, key: Key, secret: int) -> Decision:
        if key.plan.newer is not None:
            with self._admission.lock:
                key = self._key_cache.adapt(key)
        call.key = key.id
        call.account = key.account
        if key.scopes:
            call.scopes = key.scopes
        if key.providers is not None:
            call.providers = key.providers
        if not key.is_open or secret not in key.secrets:
            refusal = self._admission.check(key, secret, call.time_ns)
            if refusal is None and not key.key_policy.admits_ip(call.ip):
                refusal = WRONG_IP
            if refusal is not None:
                return self._refuse(call, refusal)
        if not self._enforces:
            return None
        call.policy = key.policy
        if key.is_plain and not key.is_restricted:
            decision: _Undecided = self._admission.admit(key, call.started_ns, call.waiter)
        else:
            decision = self._examine(call, key)
        return None if decision is None else self._put_off(call, decision)

    def _examine(self, call: Call, key: Key) -> _Undecided:
        """Decide on a call by its route and body. Reading a body is work, so check first what refuses any call."""
        if call.estimate is None and key.needs_body:
            refusal = self._admission.refuse_any(self._lease_pools(call, key) or ())
            if refusal is not None:
                return refusal
        if key.is_restricted and (restricted := self._restrict(call, key)) is not None:
            return restricted
        if key.is_plain:
            return self._admission.admit(key, call.started_ns, call.waiter)
        return self._reserve(call, key)

    def _put_off(self, call: Call, decision: Refusal | Wait | NeedsBody | Short) -> Decision:
        """Record in the call why it is not admitted now."""
        if decision is PAUSED:
            coming = self._sync.next_round()
            self._sync.wake()
            return Wait(coming)
        if isinstance(decision, Refusal):
            return self._refuse(call, decision)
        if isinstance(decision, Short):
            call.waiter = decision.waiter
            return decision.wait
        return decision

    def _restrict(self, call: Call, key: Key) -> Refusal | NeedsBody | None:
        """Check a call against the endpoints, models and tools that its key may be used for."""
        if call.estimate is None:
            return NeedsBody(key)
        if not key.key_policy.admits_route(call.template):
            return WRONG_ROUTE
        if key.needs_model and call.estimate.models is None:
            return UNREADABLE
        if not key.key_policy.admits_models(call.estimate):
            return WRONG_MODEL
        if call.estimate.tools is None and key.needs_tools(call.template):
            return UNREADABLE
        if not key.key_policy.admits_tools(call.estimate.tools or ()):
            return WRONG_TOOL
        return None

    def _reserve(self, call: Call, key: Key) -> _Undecided:
        """Reserve what the call may use, once its route and body are known."""
        lease_pools = self._lease_pools(call, key)
        if lease_pools is None:
            return UNAVAILABLE
        if call.estimate is None and (key.needs_body or key.needs_route):
            return NeedsBody(key)
        estimate: Estimate = call.estimate or _ANY
        if (estimate.hidden and key.is_capped) or (estimate.vague and key.counts_models):
            return UNREADABLE
        prices = self._price(call, key, estimate) if key.needs_price else ()
        if not isinstance(prices, tuple):
            return prices
        claims = [
            (lease_pool, estimate.units(lease_pool.limit, prices))
            for lease_pool in lease_pools
            if lease_pool.limit.covers(call.template, estimate.models, estimate.tools)
        ]
        decision = self._admission.reserve(claims, call.started_ns, call.waiter)
        if not isinstance(decision, Reservation):
            return decision
        if decision.parts:
            call.reservation = decision
            call.is_budgeted = key.needs_price and any(_is_money(*part) for part in decision.parts)
        for name, outcome in decision.noted:
            if outcome != "admitted" and call.outcome == "admitted":
                call.limit, call.outcome = name, outcome
        return None

    def _lease_pools(self, call: Call, key: Key) -> tuple[LeasePool, ...] | None:
        """Return the lease pools for a call's tag, and report these in its answer's headers."""
        if not key.tag_pools:
            return key.lease_pools
        with self._admission.lock:
            lease_pools = key.of_tag(call.tag)
        if lease_pools is not None:
            call.policy = key.tag_policy.of([lease_pool for lease_pool in lease_pools if not lease_pool.limit.dry_run])
        return lease_pools

    def _price(self, call: Call, key: Key, estimate: Estimate) -> tuple[Sequence[Rates], ...] | Refusal | Wait:
        """Return the rates of the models that a call names and of those that answered such calls; a wait if unknown.

        A name that has no price and no answer yet may cost what other calls to its route do.
        """
        named = [(self._providers.of_request(call.route, call.path, one, key.providers), one) for one in estimate.named]
        found = self._find(key, named, call)
        if isinstance(found, Wait):
            return found
        is_known = len(found) == len(named)
        is_priced = is_known and (found or not _uses_a_model(call))
        if not is_priced and (limit := key.refuses_unpriced(call.template, estimate)):
            return Refusal("forbidden", "price_unknown", limit)
        answered = self._costing.answered
        models = answered.find(requested_by(call))
        call.is_guess = not models and not is_known
        if call.is_guess:
            models = answered.find(call.template)
        others = self._find(key, models, call, have_answered=True)
        return others if isinstance(others, Wait) else (*found, *others)

    def _find(
        self, key: Key, models: Collection[Model], call: Call, *, have_answered: bool = False
    ) -> list[Sequence[Rates]] | Wait:
        """Return the rates of the models that have a price; a wait if some are unknown.

        The call names them, or they `have_answered` such calls.
        """
        tiers = [self._costing.find(key.tariff, *one, call.time_ns) for one in models]
        if None in tiers:
            unknown = [one for one, rates in zip(models, tiers, strict=True) if rates is None]
            coming = self._sync.next_round()
            awaited = _awaited(call, unknown) if have_answered else unknown
            wanted = [self._costing.want(key.tariff, *one) for one in awaited]
            if any(wanted):
                self._sync.wake()
                return Wait(coming)
        return [rates for rates in tiers if rates]

    def _look_up(self, call: Call, token: bytes, digest: bytes) -> Decision:
        """Look up a key that is not known here; one with a wrong checksum is refused without asking the key service."""
        try:
            key_id = key_format.parse(token.decode("ascii"))
        except UnicodeDecodeError:
            key_id = None
        if key_id is None and self._takes_imported and not token.startswith(key_format.PREFIX):
            key_id = key_format.imported_id(digest)
        if key_id is None:
            return self._refuse(call, UNKNOWN)
        coming = self._sync.look_up(digest, key_id, call.ip)
        return self._refuse(call, TOO_MANY_KEYS) if coming is None else Wait(coming)

    def _refuse(self, call: Call, refusal: Refusal) -> Refusal | None:
        call.outcome = refusal.outcome
        if not self._enforces:
            return None
        call.error = refusal.code
        call.limit = refusal.limit
        return refusal


def _awaited(call: Call, unknown: Collection[Model]) -> Collection[Model]:
    """Return the models that have answered whose prices a call waits for: those that were unknown at its first look.

    It does not wait for later ones, as more may answer during each heartbeat.
    """
    if call.is_guess not in call.awaited:
        call.awaited = {**call.awaited, call.is_guess: frozenset(unknown)}
    return call.awaited[call.is_guess] & frozenset(unknown)


def _uses_a_model(call: Call) -> bool:
    """Return whether a call's operation uses a model, by default one of its own choice."""
    return (
        call.method not in operations.READS
        and operations.names_a_model(call.path)
        and not operations.is_free(call.path, call.template)
    )
