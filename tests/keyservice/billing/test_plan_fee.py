from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.billing.plan_fee import Fee, History, Price, Terms, prorate

START, END = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
PRO, FREE = Price(30_000_000_000, prorated=True), Price(0, prorated=True)


def on(day):
    return START + timedelta(days=day - 1)


def fees(plans, prices, *, since=START):
    return Terms({"acme": plans}, prices).fees("acme", start=START, end=END, since=since)


def test_a_value_is_in_force_until_it_changes():
    history = History("c", [on(5), on(9)], ["a", "b"])
    moments = (on(1), on(5), on(5) + timedelta(microseconds=1), on(9), on(10))
    assert [history.just_before(moment) for moment in moments] == ["a", "a", "b", "b", "c"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**12)), min_size=1, max_size=31), st.integers(28, 31))
def test_rounded_fees_add_up_to_the_rounded_total(charged, days):
    priced = [(plan, Price(amount, prorated=True)) for plan, amount in charged]
    parts = prorate(priced, days=days)
    assert sum(fee.nanousd for fee in parts) == sum(price.monthly_nanousd for _, price in priced) // days
    assert sum(fee.days for fee in parts) == len(charged)


def test_without_proration_the_plan_at_month_end_is_billed_in_full():
    whole = Price(9_000_000_000, prorated=False)
    assert fees(History("pro", [on(20)], ["free"]), {"pro": History(whole), "free": History(FREE)}) == [
        Fee("pro", 9_000_000_000)
    ]


def test_each_day_is_billed_by_the_plan_at_its_end():
    moved = fees(History("pro", [on(21)], ["free"]), {"pro": History(PRO), "free": History(FREE)})
    assert moved == [Fee("free", 0, 20), Fee("pro", 10_000_000_000, 10)]


def test_a_new_price_applies_from_its_day_on():
    cheaper = Price(15_000_000_000, prorated=True)
    assert fees(History("pro"), {"pro": History(PRO, [on(16)], [cheaper])}) == [
        Fee("pro", 7_500_000_000, 15),
        Fee("pro", 15_000_000_000, 15),
    ]


def test_an_account_is_billed_from_the_day_of_its_creation():
    assert fees(History("pro"), {"pro": History(PRO)}, since=on(30) + timedelta(hours=12)) == [
        Fee("pro", 1_000_000_000, 1)
    ]
    assert fees(History("pro"), {"pro": History(PRO)}, since=on(11)) == [Fee("pro", 20_000_000_000, 20)]
