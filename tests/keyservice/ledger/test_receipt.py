from keygauge_keyservice.ledger.event import Refusal
from keygauge_keyservice.ledger.receipt import Receipt


def test_receipts_of_two_batches_are_combined():
    first = Receipt(5, 3, ((4, Refusal.KEY_NOT_LOOKED_UP),), 1, 0, 90)
    second = Receipt(9, 4, (), 0, 2, 80)
    assert first.plus(second) == Receipt(9, 7, ((4, Refusal.KEY_NOT_LOOKED_UP),), 1, 2, 90)


def test_a_batch_without_events_has_no_newest():
    nothing = Receipt(5, 0, (), 0, 0, None)
    assert nothing.plus(nothing).newest_us is None
    assert nothing.plus(Receipt(6, 1, (), 0, 0, 7)).newest_us == 7
