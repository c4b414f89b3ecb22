from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.ledger.plausible import Bounds


def test_the_largest_count_of_an_event_is_bounded(make_event):
    bounds = Bounds(event=100)
    for changes in (
        {"input_tokens": 60, "output_tokens": 41},
        {"input_tokens": 1, "output_tokens": 1, "cache_read_tokens": 101},
        {"input_tokens": 1, "output_tokens": 1, "details": {"images": 101}},
    ):
        event = make_event(**{"cache_read_tokens": None, **changes})
        assert list(bounds.check([event])) == [Refusal.IMPLAUSIBLE_EVENT]
    fits = make_event(input_tokens=60, output_tokens=40, details={"images": 100})
    assert list(bounds.check([fits])) == [fits]
    untold = make_event(input_tokens=None, output_tokens=None, cache_read_tokens=None)
    assert list(bounds.check([untold])) == [untold]


def test_the_total_of_a_batch_is_bounded_and_its_order_kept(make_event):
    bounds, counts = Bounds(event=100), [number * 37 % 121 for number in range(300)]
    events = [make_event(input_tokens=count, output_tokens=0, cache_read_tokens=0) for count in counts]
    first, *checked = bounds.check([Refusal.KEY_NOT_LOOKED_UP, *events])
    assert first is Refusal.KEY_NOT_LOOKED_UP
    left = bounds.batch
    for event, entry in zip(events, checked, strict=True):
        if event.input_tokens > bounds.event:
            assert entry is Refusal.IMPLAUSIBLE_EVENT
        elif event.input_tokens > left:
            assert entry is Refusal.IMPLAUSIBLE_BATCH
        else:
            assert entry is event
            left -= event.input_tokens
    assert Refusal.IMPLAUSIBLE_BATCH in checked
