from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keygauge.telemetry.heavy_hitters import IDLE_TURNS, MOST_CONTENDERS, MOST_SWAPS, HeavyHitters


def count(hitters, **uses):
    for name, times in uses.items():
        for _ in range(times):
            hitters.add(name)


@given(st.lists(st.integers(0, 2 * MOST_CONTENDERS).map(str), max_size=3 * MOST_CONTENDERS))
def test_what_is_told_of_a_name_is_never_more_than_the_truth(names):
    hitters = HeavyHitters()
    for name in names:
        hitters.add(name)
    truth = Counter(names)
    assert all(uses <= truth[name] for name, uses in hitters._uses.items())
    assert len(hitters._uses) <= MOST_CONTENDERS
    often = {name for name, uses in truth.items() if uses > len(names) / MOST_CONTENDERS}
    assert often <= hitters._uses.keys()


def test_a_busy_name_takes_the_place_of_the_idlest():
    hitters = HeavyHitters()
    count(hitters, new=30)
    assert hitters.turn({"busy": 100, "idle": 1, "less_idle": 2}) == [("idle", "new")]
    assert hitters.turn({"busy": 100, "new": 30}) == []  # each turn counts anew


def test_two_alike_do_not_take_turns():
    hitters = HeavyHitters()
    count(hitters, new=20)
    assert hitters.turn({"old": 10}) == []
    count(hitters, new=21)
    assert hitters.turn({"old": 10}) == [("old", "new")]


def test_a_few_uses_displace_only_what_was_idle_for_long():
    hitters = HeavyHitters()
    for _ in range(IDLE_TURNS - 1):
        count(hitters, new=3)
        assert hitters.turn({"old": 0}) == []
    count(hitters, new=3)
    assert hitters.turn({"old": 0}) == [("old", "new")]
    count(hitters, once=2)
    assert hitters.turn({"old": 0}) == []


def test_a_use_ends_idleness():
    hitters = HeavyHitters()
    for turn in range(2 * IDLE_TURNS - 2):
        count(hitters, new=3)
        assert hitters.turn({"old": 1 if turn == IDLE_TURNS - 2 else 0}) == []


def test_a_turn_brings_a_few_new_names_at_most_and_no_flood_displaces_anybody():
    hitters = HeavyHitters()
    count(hitters, **{f"new{number}": 10 for number in range(2 * MOST_SWAPS)})
    kept = {f"old{number}": 0 for number in range(3 * MOST_SWAPS)}
    assert len(hitters.turn(kept)) == MOST_SWAPS
    for number in range(10_000):
        hitters.add(str(number))
    assert hitters.turn(kept) == []
