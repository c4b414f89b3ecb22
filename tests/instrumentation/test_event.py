"""A call as a spool's line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from keygauge import event
from keygauge.call import Call
from keygauge.usage import Usage

texts = st.none() | st.text(max_size=20)
counts = st.none() | st.integers(0, 2**53)


@given(texts, st.text(), texts, texts, texts, st.builds(Usage, counts, counts, counts, counts, counts) | st.none())
def test_any_call_is_one_line_of_json_in_the_order_of_the_fields(account, route, error, ip, model, usage):
    call = Call(method="POST", ip=ip, time_ns=1_790_000_000_123_456_789, started_ns=1_000_000)
    call.account, call.route, call.error, call.model, call.usage = account, route, error, model, usage
    call.ended_ns = 3_500_000
    line = event.line(call)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    told = dict(zip(event.FIELDS, json.loads(line), strict=True))
    assert told["time_us"] == 1_790_000_000_123_456
    assert told["duration_us"] == 2_500
    assert told["first_token_us"] is None
    assert (told["account"], told["route"], told["error"], told["ip"]) == (account, route, error, ip)
    assert told["model"] == model
    assert Usage(*(told[name] for name in Usage._fields)) == (usage or Usage())


def test_memory_of_texts_is_bounded():
    call = Call(method="GET", ip=None, time_ns=1, started_ns=1)
    for number in range(25_000):
        call.model = f"model {number}"
        event.line(call)
    assert len(event._texts) <= event._MOST_TEXTS
