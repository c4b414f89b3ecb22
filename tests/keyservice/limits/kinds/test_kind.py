import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.protocol import Acquisition
from keygauge_keyservice.limits import kinds
from keygauge_keyservice.limits.kinds.concurrency import Concurrency
from keygauge_keyservice.limits.kinds.gcra import Gcra
from keygauge_keyservice.limits.kinds.kind import Columns, Refund, Wish
from keygauge_keyservice.limits.kinds.quota import Quota
from keygauge_keyservice.limits.kinds.sliding_window import SlidingWindow

NOW_US = 1_800_000_000_000_000
TERMS = {
    "unit": "request",
    "amount": 100,
    "window_s": None,
    "period": None,
    "smooth": False,
    "out": 0,
    "anchor": None,
    "zone": None,
}
ROWS = [
    (Concurrency, TERMS | {"unit": "concurrent"}),
    (Gcra, TERMS | {"window_s": 60, "smooth": True}),
    (SlidingWindow, TERMS | {"window_s": 60}),
    (Quota, TERMS | {"period": "day"}),
]


@pytest.mark.parametrize(("kind", "row"), ROWS)
@given(wants=st.lists(st.integers(1, 40), max_size=5), unspent=st.integers(0, 40))
def test_a_state_survives_dumping_and_loading(kind, row, wants, unspent):
    row |= Columns()._asdict()
    state, given_units, bucket = kinds.load(row), 0, 0
    assert (type(state), state.used) == (kind, 0)
    for want in wants:
        grant = state.give(Wish(Acquisition("1:a", want), NOW_US, 1), row)
        state, bucket, given_units = grant.state, grant.bucket, given_units + grant.units
        columns = state.dump()
        assert columns is None if kind is Concurrency else kinds.load(row | columns._asdict()) == state
    assert given_units <= row["amount"]
    used = state.now(row, now_us=NOW_US)[0].used
    assert used == given_units
    back = state.take_back(Refund(bucket, unspent, 0), row, now_us=NOW_US) if bucket else state
    assert back.now(row, now_us=NOW_US)[0].used <= used
