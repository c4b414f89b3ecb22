"""Reports of lost heartbeats, with a manual clock."""

from keygauge.clock import SECOND
from keygauge.sync.lost_answers import LostAnswers


def test_lost_heartbeats_are_reported_for_a_while_as_ranges():
    lost = LostAnswers()
    for number, now_s in ((3, 0), (4, 2), (7, 5)):
        lost.add(number, now_s * SECOND)
    assert lost.tell(6 * SECOND) == [{"first": 3, "last": 4}, {"first": 7, "last": 7}]
    assert lost.tell(93 * SECOND) == [{"first": 7, "last": 7}]
    assert lost.tell(96 * SECOND) == []


def test_a_message_has_room_for_all_lost_heartbeats():
    lost = LostAnswers()
    for number in range(0, 2000, 2):
        lost.add(number, 0)
    assert [one["first"] for one in lost.tell(0)] == list(range(1000, 2000, 2))
