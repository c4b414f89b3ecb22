from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.ledger.plausible import Bounds
from keygauge_keyservice.ledger.source import Source


def source(**parts):
    return Source(**{"service": "api", "first": 40, "lines": [b"a\n", b"b\n"], "bounds": Bounds(100)} | parts)


def test_usage_is_accepted_only_for_keys_that_the_service_looked_up(make_event):
    own = make_event(input_tokens=1, output_tokens=1, cache_read_tokens=0)
    entries = source().check([own, own._replace(key="another"), Refusal.KEY_NOT_LOOKED_UP], {own.key})
    assert entries == [own, Refusal.KEY_NOT_LOOKED_UP, Refusal.KEY_NOT_LOOKED_UP]


def test_plausibility_is_checked_only_for_keys_that_the_service_looked_up(make_event):
    large = make_event(input_tokens=101, output_tokens=0, cache_read_tokens=0)
    assert source().check([large], {large.key}) == [Refusal.IMPLAUSIBLE_EVENT]
    assert source().check([large], set()) == [Refusal.KEY_NOT_LOOKED_UP]


def test_the_original_line_of_a_refused_event_is_kept(make_event):
    event = make_event()
    assert source().refused(41, Refusal.IMPLAUSIBLE_EVENT, event) == (41, Refusal.IMPLAUSIBLE_EVENT, event.key, b"b\n")
