"""Decisions on calls with a key, without a key service: the tests insert its answers."""

from dataclasses import replace
from hashlib import sha256

import pytest
from scripted_service import ID, TOKEN, Service

from keygauge.call import ANONYMOUS, INVALID, Call
from keygauge.clock import SECOND
from keygauge.limits import refusal
from keygauge.limits.authorizer import Authorizer, NeedsBody
from keygauge.limits.credential import CONFLICT
from keygauge.limits.reading.estimate import Estimate
from keygauge.limits.waiter import Wait

RPM = {"id": "1:a", "name": "rpm", "unit": "request", "amount": 5, "window_s": 60, "period": None, "whose": "account"}
BUDGET = RPM | {"name": "budget", "unit": "nanousd", "window_s": None, "period": "month", "amount": 10**9}
CHAT = Estimate(model="gpt-4o", named=("gpt-4o",))


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def authorizer(service):
    return Authorizer(service, enforces=True, wait_s=1.0)


def call(service, **parts):
    return Call(**{"method": "POST", "ip": "192.0.2.1", "time_ns": 0, "started_ns": service.now_ns} | parts)


def test_calls_without_a_key_or_with_two_are_refused(service, authorizer):
    for token, expected, key in ((None, refusal.MISSING, ANONYMOUS), (CONFLICT, refusal.CONFLICT, INVALID)):
        one = call(service)
        assert authorizer.decide(one, token) is expected
        assert (one.key, one.outcome, one.error) == (key, expected.outcome, expected.code)
    assert not service.asked


def test_malformed_keys_never_reach_the_key_service(service, authorizer):
    for token in (b"x", b"\xff", b"", TOKEN[:-1], TOKEN + b"x", TOKEN.swapcase(), b"kg_live_" * 99):
        assert authorizer.decide(call(service), token) is refusal.UNKNOWN
    assert not service.asked


def test_an_unknown_key_is_looked_up_while_the_call_waits(service, authorizer):
    one = call(service)
    decision = authorizer.decide(one, TOKEN)
    assert isinstance(decision, Wait)
    assert decision.woken is service.coming
    assert service.asked == [(sha256(TOKEN).digest(), ID, "192.0.2.1")]
    service.know()
    assert authorizer.decide(one, TOKEN) is None
    assert (one.key, one.account, one.outcome) == (ID, "a", "admitted")


def test_a_nonexistent_key_is_not_looked_up_again_at_once(service, authorizer):
    service.admission.key_cache.mark_unknown(sha256(TOKEN).digest(), service.now_ns)
    assert authorizer.decide(call(service), TOKEN) is refusal.UNKNOWN
    assert not service.asked
    service.now_ns += 6 * SECOND
    assert isinstance(authorizer.decide(call(service), TOKEN), Wait)


def test_a_secret_that_ended_long_ago_is_refused_as_replaced(service, authorizer):
    replaced = replace(refusal.REPLACED, since_s=1)
    service.admission.key_cache.mark_unknown(sha256(TOKEN).digest(), service.now_ns, replaced)
    one = call(service)
    assert authorizer.decide(one, TOKEN) is replaced
    assert (one.key, one.outcome) == (INVALID, "revoked")


def test_a_secret_that_ended_while_it_was_known_is_refused_as_replaced(service, authorizer):
    service.know(secrets=[{"number": 1, "expires_at": 100}])
    assert authorizer.decide(call(service, time_ns=100 * SECOND - 1), TOKEN) is None
    assert authorizer.decide(call(service, time_ns=100 * SECOND), TOKEN) == replace(refusal.REPLACED, since_s=100)


def test_too_many_look_ups_are_refused(service, authorizer):
    service.is_crowded = True
    assert authorizer.decide(call(service), TOKEN) is refusal.TOO_MANY_KEYS


def test_keys_of_other_formats_are_looked_up_only_if_imported_keys_are_accepted(service, authorizer):
    assert authorizer.decide(call(service), b"sk-foreign") is refusal.UNKNOWN
    taking = Authorizer(service, enforces=True, wait_s=1.0, takes_imported=True)
    assert isinstance(taking.decide(call(service), b"sk-foreign"), Wait)
    assert taking.decide(call(service), TOKEN[:-1]) is refusal.UNKNOWN  # in our format, with a wrong checksum


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"status": "disabled"}, refusal.DISABLED),
        ({"status": "deleted"}, refusal.DELETED),
        ({"status": "suspended"}, refusal.SUSPENDED),
        ({"expires_at": 0}, refusal.EXPIRED),
        ({"secrets": [{"number": 2, "expires_at": None}]}, refusal.REPLACED),
        ({"secrets": [{"number": 2, "expires_at": None}], "status": "deleted"}, refusal.DELETED),
        ({"secrets": [{"number": 1, "expires_at": 0}], "status": "deleted"}, refusal.DELETED),
        ({"networks": ["198.51.100.0/24"]}, refusal.WRONG_IP),
    ],
)
def test_a_refused_key_states_the_reason(service, authorizer, terms, expected):
    service.know(**terms)
    one = call(service)
    assert authorizer.decide(one, TOKEN) is expected
    assert (one.key, one.outcome) == (ID, expected.outcome)


def test_a_restricted_key_needs_the_body_and_enforces_its_restrictions(service, authorizer):
    service.know(routes=["/v1/chat"], models=["gpt-*"])
    one = call(service, template="/v1/chat")
    needs = authorizer.decide(one, TOKEN)
    assert isinstance(needs, NeedsBody)
    assert needs.needs_model
    decided = []
    for template, estimate in (
        ("/v1/chat", CHAT),
        ("/v1/files", CHAT),
        (None, CHAT),
        ("/v1/chat", Estimate(named=("o3",))),
        ("/v1/chat", Estimate(unread=True)),
    ):
        decided.append(authorizer.decide(call(service, template=template, estimate=estimate), TOKEN))
    assert decided == [None, refusal.WRONG_ROUTE, refusal.WRONG_ROUTE, refusal.WRONG_MODEL, refusal.UNREADABLE]


def test_a_call_without_units_waits_in_the_queue_and_leaves_it_when_decided(service, authorizer):
    service.know(RPM)
    one = call(service)
    assert isinstance(authorizer.decide(one, TOKEN), Wait)
    assert one.waiter is not None
    assert service.woken
    (pool,) = service.admission.key_cache.keys[ID].lease_pools
    assert pool.waiting
    authorizer.leave(one)
    assert one.waiter is None
    assert not pool.waiting
    authorizer.leave(one)


@pytest.mark.parametrize("terms", [{}, {"models": ["gpt-*"]}])
@pytest.mark.parametrize("limit", [RPM, RPM | {"unit": "token", "amount": 10**6}])
def test_nothing_is_admitted_after_authority_has_expired(service, authorizer, limit, terms):
    service.know(limit, **terms)
    service.admission.authority_ns = service.now_ns
    one = call(service, template="/v1/chat", estimate=CHAT)
    service.admission.away = True
    assert authorizer.decide(one, TOKEN) is refusal.UNAVAILABLE


@pytest.mark.parametrize("estimate", [None, CHAT])
@pytest.mark.parametrize("limit", [RPM, RPM | {"unit": "token", "amount": 10**6}])
def test_after_a_pause_of_the_process_calls_wait_for_the_next_heartbeat(service, authorizer, limit, estimate):
    service.know(limit)
    service.admission.authority_ns = service.now_ns
    one = call(service, template="/v1/chat", estimate=estimate)
    decision = authorizer.decide(one, TOKEN)
    assert isinstance(decision, Wait)
    assert (decision.woken, service.woken) == (service.coming, 1)
    assert (one.outcome, one.error) == ("admitted", None)
    service.admission.fail()
    assert authorizer.decide(one, TOKEN) is refusal.UNAVAILABLE


def test_without_enforcement_nobody_is_refused_and_the_outcome_is_recorded(service):
    watching = Authorizer(service, enforces=False, wait_s=1.0)
    for token in (None, CONFLICT, b"x"):
        one = call(service)
        assert watching.decide(one, token) is None
        assert (one.outcome, one.error) == ("unknown", None)
    service.know(RPM, status="disabled", routes=["/v1/chat"])
    one = call(service)
    assert watching.decide(one, TOKEN) is None
    assert (one.key, one.outcome) == (ID, "revoked")
    assert watching.give_up(one) is watching.refuse_cap(one) is None


def test_a_call_waits_long_only_while_the_key_service_answers(service, authorizer):
    assert authorizer.waits_until_ns(0) == 5 * SECOND
    service.admission.away = True
    assert authorizer.waits_until_ns(0) == 1 * SECOND
    assert authorizer.give_up(call(service)) is refusal.UNAVAILABLE


def test_keys_to_be_refreshed_delay_no_call(service, authorizer):
    service.know()
    service.admission.key_cache.expire(service.now_ns + SECOND)
    assert authorizer.decide(call(service), TOKEN) is None
    assert service.asked_again == [ID]
    service.now_ns += 2 * SECOND
    assert isinstance(authorizer.decide(call(service), TOKEN), Wait)


def test_a_call_whose_key_is_unknown_after_a_restore_belongs_to_nobody(service, authorizer):
    service.know(RPM, scopes=["chat"])
    one = call(service)
    assert isinstance(authorizer.decide(one, TOKEN), Wait)
    assert (one.key, one.account, one.scopes) == (ID, "a", ("chat",))
    authorizer.leave(one)
    service.admission.key_cache.expire(service.now_ns + SECOND)
    service.now_ns += 2 * SECOND
    assert isinstance(authorizer.decide(one, TOKEN), Wait)
    assert (one.key, one.account, one.scopes, one.policy) == (INVALID, None, (), None)


def test_calls_under_a_budget_wait_for_prices(service, authorizer):
    service.know(BUDGET)
    decision = authorizer.decide(call(service, template="/v1/chat", estimate=CHAT), TOKEN)
    assert isinstance(decision, Wait)
    assert service.woken
    assert service.costing.find(None, "openai", "gpt-4o", 0) is None
    assert service.admission.key_cache.keys[ID].needs_price


def test_a_call_asks_for_the_prices_of_all_its_models_at_once(service, authorizer):
    service.know(BUDGET)
    names = tuple(f"fallback-{number}" for number in range(60))
    decision = authorizer.decide(call(service, template="/v1/chat", estimate=Estimate(named=names)), TOKEN)
    assert isinstance(decision, Wait)
    assert {name.model for name in service.prices.offer()[1]} == set(names)


def test_a_call_waits_for_prices_once_however_many_models_answer_meanwhile(service, authorizer):
    service.know(BUDGET)
    one = call(service, template="/v1/chat", estimate=Estimate(model="new", named=("new",)))
    answered = service.costing.answered
    for number in range(3):
        answered.learn("/v1/chat", ("openai", f"early-{number}"))
    for _ in range(2):  # for its own name's price, then for those of the models that had answered
        assert isinstance(authorizer.decide(one, TOKEN), Wait)
        service.price()
        answered.learn("/v1/chat", ("openai", "later"))
    assert one.waiter is None
    authorizer.decide(one, TOKEN)
    assert one.waiter is not None  # it waits for units of its budget


def test_a_call_without_a_reservation_settles_nothing(service, authorizer):
    one = call(service)
    authorizer.settle(one)
    assert one.reservation is None
