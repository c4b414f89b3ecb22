from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.weights import Weights
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import LIMITS_MAX, LimitList, LimitTerms, parse_limit
from keygauge_keyservice.reading import INTEGER_MAX, read

RPM = {"name": "rpm", "unit": "request", "amount": 60, "window_s": 60}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("rpm=60:request:60s", Limit(name="rpm", unit="request", amount=60, window_s=60)),
        ("rpm=60:request:1m:key", Limit(name="rpm", unit="request", amount=60, window_s=60, subject="key")),
        ("daily=5:token:day,safe", Limit(name="daily", unit="token", amount=5, period="day", when_down="safe")),
        ("slots=5:concurrent", Limit(name="slots", unit="concurrent", amount=5)),
        ("cost=$25.50:usd:month", Limit(name="cost", unit="nanousd", amount=25_500_000_000, period="month")),
        ("trial=5:request:lifetime", Limit(name="trial", unit="request", amount=5, period="lifetime")),
        ("daily=5:request:day,zone=UTC", Limit(name="daily", unit="request", amount=5, period="day")),
        (
            "billed=5:request:month:key,anchor=2026-01-15,zone=Europe/Berlin",
            Limit(
                name="billed",
                unit="request",
                amount=5,
                period="month",
                subject="key",
                anchor=date(2026, 1, 15),
                zone="Europe/Berlin",
            ),
        ),
        (
            "monthly=500:points(input+4*output+10*request):month,output_default=9",
            Limit(
                name="monthly",
                unit="weighted",
                unit_name="points",
                weights=Weights(request=10, input=1, output=4),
                amount=500,
                period="month",
                output_default=9,
            ),
        ),
        (
            "points=10:credit@0.01:month,when_unpriced=refuse",
            Limit(
                name="points",
                unit="nanousd",
                amount=100_000_000,
                period="month",
                credit_nanousd=10_000_000,
                when_unpriced="refuse",
            ),
        ),
        (
            "rpm=60:request:60s,smooth,dry_run,route=/v1/chat,model=gpt-4o",
            Limit(
                name="rpm",
                unit="request",
                amount=60,
                window_s=60,
                smooth=True,
                dry_run=True,
                route="/v1/chat",
                model="gpt-4o",
            ),
        ),
    ],
)
def test_limits_are_parsed(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "name"),
        ("rpm", "amount"),
        ("rpm=x:request:60s", "amount"),
        ("rpm=-1:request:60s", "amount"),
        ("rpm=60:requests:60s", "unit"),
        ("rpm=60:request", "window_s"),
        ("rpm=60:request:60", "window_s"),
        ("rpm=60:request:2d", "window_s"),
        ("rpm=60:request:decade", "period"),
        ("rpm=60:request:month,anchor=15", "anchor"),
        ("rpm=60:request:60s,anchor=2026-01-15", "anchor"),
        ("rpm=60:request:month,zone=Mars/Olympus", "zone"),
        ("rpm=60:request:hour,zone=Europe/Berlin", "zone"),
        ("a=5:points(thoughts):month", "weights.thoughts"),
        ("a=5:points(input+input):month", "weights"),
        ("a=5:points(0*input):month", "weights"),
        ("a=5:points(0.5*input):month", "weights.input"),
        ("a=5:points(-1*input):month", "weights.input"),
        ("a=5:points():month", "weights."),
        ("a=5:weighted:month", "weights"),
        ("a=5:(input):month", "unit_name"),
        ("a=5:points(input):60s,smooth", "smooth"),
        ("rpm=60:request:60s:team", "subject"),
        ("rpm=60:request:60s:key:x", "limit"),
        ("slots=5:concurrent:60s", "unit"),
        ("cost=many:usd:day", "amount"),
        ("cost=-1:usd:day", "amount"),
        ("points=10:credit@x:day", "credit"),
        ("rpm=60:request:60s,safer", "safer"),
        ("rpm=60:request:60s,", ""),
        ("rpm=60:request:60s:key:", "limit"),
        ("rpm=60:request:60s::", "limit"),
        ("rpm=60:request:60s,model=a,model=b", "model"),
        ("rpm=60:request:60s,safe,safe", "when_down"),
        ("rpm=60:request:60s,smooth,smooth", "smooth"),
        ("rpm=60:request:60s,unit=token", "unit"),
        ("rpm=60:request:60s,window_s=3600", "window_s"),
        ("rpm=60:request:60s,subject=key", "subject"),
        ("rpm=60:request:60s,route=", "route"),
        ("rpm=60:request:60s,model=", "model"),
        ("rpm=60:request:60s,tool=", "tool"),
        ("rpm=60:request:60s,output_default=5", "output_default"),
        ("rpm=60:token:60s,smooth", "smooth"),
        ("rpm=60:request:day,smooth", "smooth"),
        ("rpm=60:request:60s,when_unpriced=refuse", "when_unpriced"),
        ("slots=5:concurrent,safe", "when_down"),
    ],
)
def test_errors_name_the_wrong_field(text, field):
    with pytest.raises(Problem) as caught:
        parse_limit(text)
    assert field in [error.field for error in caught.value.errors]


def test_amounts_that_cannot_be_counted_exactly_are_refused():
    terms = {"name": "points", "unit": "credit", "period": "day", "credit_nanousd": 1000}
    assert read(LimitTerms, terms | {"amount": INTEGER_MAX // 1000}).limit().amount <= INTEGER_MAX
    for amount in (INTEGER_MAX // 1000 + 1, INTEGER_MAX):
        with pytest.raises(Problem):
            read(LimitTerms, terms | {"amount": amount})


def test_the_rate_of_a_smooth_limit_is_bounded():
    assert read(LimitTerms, RPM | {"smooth": True, "amount": 3_000_000}).smooth
    with pytest.raises(Problem):
        read(LimitTerms, RPM | {"smooth": True, "amount": 3_000_001})


@given(st.integers(0, 10**6), st.none() | st.integers(1, 10**6))
def test_a_limit_in_credits_is_returned_in_credits(amount, credit):
    unit = "credit" if credit else "nanousd"
    terms = LimitTerms(name="cost", unit=unit, amount=amount, period="month", credit_nanousd=credit)
    assert LimitTerms.of(terms.limit()) == terms
    assert terms.limit().amount == amount * (credit or 1)


def test_limits_have_unique_names_and_a_maximum_number():
    assert [limit.subject for limit in read(LimitList, {"limits": [RPM]}).of_key()] == ["key"]
    assert [limit.subject for limit in read(LimitList, {"limits": [RPM]}).of_plan()] == ["account"]
    many = [RPM | {"name": f"l{number}"} for number in range(LIMITS_MAX + 1)]
    for limits in ([RPM, RPM], many):
        with pytest.raises(Problem):
            read(LimitList, {"limits": limits})
