"""The price cache: rates are requested, kept, refreshed, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from keygauge.pricing import price_cache as module
from keygauge.pricing.price_cache import Name, PriceCache
from keygauge.pricing.rates import Rates, cost_nanousd, rates_of
from keygauge.usage import Usage

GPT = Name(None, "openai", "gpt")
USAGE = Usage(1_000_000, 0)


class Service:
    """The key service's side of the protocol."""

    def __init__(self):
        self.state, self.rates, self.asked = "1", {}, 0

    def answer(self, part):
        self.asked += len(part["want"])
        rates = [[[0, "v", [[-1, *[rate] * 5, 0]]]] if (rate := self.rates.get(want["model"])) else []
                 for want in part["want"]]  # fmt: skip
        return {"state": self.state, "rates": rates}


class Clock:
    ns = 10**18

    def __call__(self):
        return self.ns


def make():
    faults, clock = [], Clock()
    return PriceCache(on_fault=faults.append, clock=clock), Service(), clock, faults


def heartbeat(prices, service):
    part, names = prices.offer()
    prices.take(service.answer(part), names)


def costs(prices, *names):
    told = []
    for name in names:
        prices.cost(name, 5, USAGE, told.append)
    return told


def test_calls_before_their_price_are_counted_when_it_arrives():
    prices, service, _, faults = make()
    service.rates["gpt"] = 7_000_000
    told = costs(prices, GPT, GPT, GPT._replace(model="made-up"))
    assert told == []
    heartbeat(prices, service)
    assert told == [7_000_000, 7_000_000, None]
    assert costs(prices, GPT, GPT._replace(model="made-up")) == [7_000_000, None]
    assert (service.asked, faults) == (2, [])


def test_unanswered_heartbeat_loses_no_calls():
    prices, service, _, _ = make()
    service.rates["gpt"] = 7
    told = costs(prices, GPT)
    prices.offer()
    heartbeat(prices, service)
    assert told == [7]


def test_changed_price_arrives_after_two_heartbeats_and_the_old_one_applies_meanwhile():
    prices, service, _, _ = make()
    service.rates |= {"gpt": 7}
    costs(prices, GPT, GPT._replace(model="new"))
    heartbeat(prices, service)
    service.rates |= {"gpt": 9, "new": 5}
    service.state = "2"
    heartbeat(prices, service)
    assert prices.is_urgent
    assert costs(prices, GPT) == [7]
    heartbeat(prices, service)
    assert not prices.is_urgent
    assert costs(prices, GPT) == [9]
    told = costs(prices, GPT._replace(model="new"))
    heartbeat(prices, service)
    assert told == [5]


def test_older_key_service_has_no_prices():
    prices, _, _, _ = make()
    told = costs(prices, GPT)
    _, names = prices.offer()
    prices.take(None, names)
    assert told == [None]


def test_prices_are_refreshed_before_they_expire():
    prices, service, clock, _ = make()
    service.rates["gpt"] = 7
    costs(prices, GPT, GPT._replace(model="made-up"))
    heartbeat(prices, service)
    clock.ns += module._CACHE_NS + 1
    service.rates |= {"gpt": 8, "made-up": 3}
    told = costs(prices, GPT, GPT._replace(model="made-up"))
    assert told == [7]
    heartbeat(prices, service)
    assert told == [7, 3]
    assert costs(prices, GPT) == [8]


def test_flood_of_names_uses_bounded_memory_and_evicts_no_price():
    prices, service, _, faults = make()
    service.rates["gpt"] = 7
    costs(prices, GPT)
    heartbeat(prices, service)
    told = costs(prices, *(GPT._replace(model=f"made-up-{number}") for number in range(module._MOST_WAITING + 5)))
    assert faults == ["cost_unknown"] * 5
    asked = service.asked
    heartbeat(prices, service)
    assert service.asked - asked == module._MOST_NEW
    while len(told) < module._MOST_WAITING:
        heartbeat(prices, service)
    assert len(prices._unpriced) == module._CACHED_MAX
    assert not prices._waiting
    assert costs(prices, GPT) == [7]
    assert [prices.want(GPT._replace(model=f"more-{number}")) for number in range(200)].count(True) == module._MOST_NEW


def test_least_recently_used_price_is_evicted_first(monkeypatch):
    monkeypatch.setattr(module, "_CACHED_MAX", 3)
    prices, service, _, _ = make()
    names = [GPT._replace(model=f"m{number}") for number in range(4)]
    service.rates |= {name.model: 1 for name in names}
    for name in names[:3]:
        costs(prices, name)
        heartbeat(prices, service)
    prices.find(names[0])
    costs(prices, names[3])
    heartbeat(prices, service)
    assert [prices.find(name) is not None for name in names] == [True, False, True, True]


def test_steps_apply_from_their_start_time():
    price = module.Price([[100, "a", [[-1, *[1] * 6]]], [200, None, []], [300, "c", [[-1, *[3] * 6]]]])
    rates = [price.tiers_at(time_us) for time_us in (0, 100, 199, 200, 300, 400)]
    assert [tiers[0].input if tiers else None for tiers in rates] == [1, 1, 1, None, 3, 3]
    assert price.cost_nanousd(250, USAGE) is None


counts = st.integers(0, 10**9)
rate = st.integers(0, 10**12)


@given(
    rows=st.lists(st.tuples(*[rate] * 5, st.integers(0, 10**17)), min_size=1, max_size=3),
    parts=st.tuples(counts, counts, st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)),
)
def test_no_call_costs_more_than_the_reservation_for_its_tokens(rows, parts):
    tiers = [Rates(number * 1000 - 1, *row) for number, row in enumerate(rows)]
    given_tokens, made, *shares = parts
    usage = Usage(
        given_tokens, made, given_tokens * shares[0] // 20, given_tokens * shares[1] // 20, made * shares[2] // 10
    )
    cost = cost_nanousd(tiers, usage)
    assert 0 <= cost <= rates_of(tiers, given_tokens).most_nanousd(given_tokens, made)
