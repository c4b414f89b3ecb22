from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keygauge.telemetry.heavy_hitters import IDLE_TURNS, MOST_CONTENDERS, MOST_SWAPS, HeavyHitters


def count(hitters, **uses):
    for name, times in uses.items():
        for _ in range(times):
            hitters.add(name)


@given(st.lists(st.integers(0, 2 * MOST_CONTENDERS).map(str), max_size=3 * MOST_CONTENDERS))
def test_sketch_never_overestimates_and_keeps_frequent_names(names):
    hitters = HeavyHitters()
    for name in names:
        hitters.add(name)
    truth = Counter(names)
    assert all(uses <= truth[name] for name, uses in hitters._uses.items())
    assert len(hitters._uses) <= MOST_CONTENDERS
    often = {name for name, uses in truth.items() if uses > len(names) / MOST_CONTENDERS}
    assert often <= hitters._uses.keys()


def test_busy_name_replaces_the_least_used_one():
    hitters = HeavyHitters()
    count(hitters, new=30)
    assert hitters.turn({"busy": 100, "idle": 1, "less_idle": 2}) == [("idle", "new")]
    assert hitters.turn({"busy": 100, "new": 30}) == []  # each turn starts counting from 0


def test_similarly_used_names_do_not_alternate():
    hitters = HeavyHitters()
    count(hitters, new=20)
    assert hitters.turn({"old": 10}) == []
    count(hitters, new=21)
    assert hitters.turn({"old": 10}) == [("old", "new")]


def test_few_uses_replace_only_a_long_idle_name():
    hitters = HeavyHitters()
    for _ in range(IDLE_TURNS - 1):
        count(hitters, new=3)
        assert hitters.turn({"old": 0}) == []
    count(hitters, new=3)
    assert hitters.turn({"old": 0}) == [("old", "new")]
    count(hitters, once=2)
    assert hitters.turn({"old": 0}) == []


def test_any_use_resets_idleness():
    hitters = HeavyHitters()
    for turn in range(2 * IDLE_TURNS - 2):
        count(hitters, new=3)
        assert hitters.turn({"old": 1 if turn == IDLE_TURNS - 2 else 0}) == []


def test_swaps_per_turn_are_bounded_and_a_flood_replaces_none():
    hitters = HeavyHitters()
    count(hitters, **{f"new{number}": 10 for number in range(2 * MOST_SWAPS)})
    kept = {f"old{number}": 0 for number in range(3 * MOST_SWAPS)}
    assert len(hitters.turn(kept)) == MOST_SWAPS
    for number in range(10_000):
        hitters.add(str(number))
    assert hitters.turn(kept) == []
