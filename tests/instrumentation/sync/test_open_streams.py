from keygauge.call import Call
from keygauge.clock import MS
from keygauge.protocol import ENTRIES_MAX
from keygauge.sync.open_streams import describe


def make_call(key, started_ms, messages, account="a"):
    call = Call(method="POST", ip=None, time_ns=0, started_ns=started_ms * MS)
    call.key, call.account, call.messages, call.stream = key, account, messages, "sse"
    return call


def test_open_streams_are_summed_per_key():
    streams = {
        make_call("k1", 9_000, 5),
        make_call("k1", 2_000, 7),
        make_call("k2", 4_000, 0),
        make_call("_invalid", 1_000, 3, account=None),
    }
    assert describe(streams, 10_000 * MS) == [
        {"key": "k1", "open": 2, "oldest_ms": 8_000, "messages": 12},
        {"key": "k2", "open": 1, "oldest_ms": 6_000, "messages": 0},
    ]
    assert describe(set(), 0) == []


def test_of_too_many_keys_those_with_the_oldest_streams_are_reported():
    streams = {make_call(f"k{number}", number, 1) for number in range(ENTRIES_MAX + 10)}
    assert [one["key"] for one in describe(streams, 0)] == [f"k{number}" for number in range(ENTRIES_MAX)]
