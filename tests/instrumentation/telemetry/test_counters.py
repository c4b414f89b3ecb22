from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.call import Call
from keygauge.telemetry.counters import Counters
from keygauge.telemetry.labels import nameless
from keygauge.usage import Usage

COUNT = st.one_of(st.none(), st.integers(0, 10**9))
NAMES = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def make(**parts):
    return Call(**{"method": "POST", "ip": None, "time_ns": 0, "started_ns": 0} | parts)


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.builds(Usage, *[COUNT] * 5)), max_size=8))
def test_counts_add_up_and_missing_counts_add_nothing(usages):
    counters = Counters(nameless(200, "admitted"))
    for usage in usages:
        counters.add(make(usage=usage, request_bytes=3, response_bytes=5, messages=2))
    for name in NAMES:
        assert getattr(counters, name) == sum(getattr(usage, name) or 0 for usage in usages if usage)
    sizes = (counters.request_bytes, counters.response_bytes, counters.messages)
    assert sizes == (3 * len(usages), 5 * len(usages), 2 * len(usages))


def test_requests_are_counted_by_the_caller():
    counters = Counters(nameless(200, "admitted"))
    counters.add(make())
    assert (counters.requests, counters.seen, counters.cost_nanousd, counters.unpriced) == (0, 0, 0, 0)
