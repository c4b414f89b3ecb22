"""Clients that send nonexistent keys slow down themselves, and nobody else."""

import pytest

from keygauge.clock import MS, SECOND
from keygauge.sync import look_ups
from keygauge.sync.look_ups import LookUps

NOW = 100 * SECOND


def digest(number):
    return number.to_bytes(32, "big")


def add(queue, numbers, ip, now_ns=NOW):
    return [queue.add(digest(number), f"key{number}", ip, now_ns) for number in numbers]


def take(queue, most):
    return [int.from_bytes(one, "big") for one in queue.take(most)]


def test_addresses_take_turns():
    queue = LookUps()
    add(queue, range(800), "192.0.2.1")
    add(queue, [900], "192.0.2.2")
    add(queue, [901], "192.0.2.3")
    assert take(queue, 4) == [0, 900, 901, 1]
    assert take(queue, 2) == [2, 3]


def test_a_key_requested_twice_is_looked_up_once():
    queue = LookUps()
    assert add(queue, [1, 1], "192.0.2.1") == add(queue, [1], "192.0.2.2") * 2 == [True, True]
    assert take(queue, 10) == [1]


def test_an_address_has_a_bound_and_leaves_room_for_others():
    queue = LookUps()
    assert sum(add(queue, range(5_000), "192.0.2.1")) == 1_000
    assert add(queue, [6_000], "192.0.2.2") == [True]


def test_a_full_queue_makes_room_at_the_cost_of_the_longest():
    queue = LookUps()
    for host in range(10):
        add(queue, range(host * 1_000, host * 1_000 + 1_000), f"192.0.2.{host}")
    assert len(queue.waiting) == 10_000
    assert add(queue, [20_000], "198.51.100.1") == [True]
    assert len(queue.waiting) <= 10_000
    assert 20_000 in take(queue, 11)


def guess(queue, addresses, now_ns=NOW):
    """Make each address ask for a key that does not exist."""
    for number, address in enumerate(addresses):
        add(queue, [number], address, now_ns)
        if number % 100 == 99:
            queue.mark_unknown(queue.take(100).values(), now_ns)
    queue.mark_unknown(queue.take(100).values(), now_ns)


@pytest.mark.parametrize("address", ["10.{}.{}.1", "2001:db8:0:{:x}{:02x}::1"])
def test_guessing_addresses_come_last_even_if_they_are_many(address, monkeypatch):
    monkeypatch.setattr(look_ups, "_MOST", 1_000)
    queue = LookUps()
    addresses = [address.format(number >> 8, number & 255) for number in range(1_200)]
    guess(queue, addresses)
    for number, guesser in enumerate(addresses):
        add(queue, [number], guesser)
    assert len(queue.waiting) == 1_000
    assert add(queue, [20_000], "198.51.100.1") == [True]
    assert len(queue.waiting) == 1_000
    assert take(queue, 2)[0] == 20_000


def test_a_guess_is_forgotten_after_a_minute():
    queue = LookUps()
    guess(queue, ["192.0.2.1"])
    add(queue, [1], "192.0.2.1", NOW + 61 * SECOND)
    add(queue, [2], "192.0.2.2", NOW + 61 * SECOND)
    assert take(queue, 1) == [1]


def test_known_keys_have_priority_in_half_of_each_heartbeat(monkeypatch):
    monkeypatch.setattr(look_ups, "_MOST", 1_000)
    queue = LookUps()
    for number in range(1_000):
        add(queue, [number], f"10.{number >> 8}.{number & 255}.1")
    for number in range(20_000, 20_400):
        queue.add_known(digest(number), f"key{number}")
    taken = take(queue, 500)
    assert taken[:250] == list(range(20_000, 20_250))
    assert taken[250:] == list(range(250))


def test_memory_is_bounded_even_if_many_addresses_guess(monkeypatch):
    monkeypatch.setattr(look_ups, "_MOST_SUSPECTS", 500)
    monkeypatch.setattr(look_ups, "_MOST_GUESSERS", 300)
    queue = LookUps()
    guess(queue, (f"10.{number >> 8}.{number & 255}.1" for number in range(600)))
    assert (len(queue._suspects), len(queue._guessers), len(queue.waiting)) == (500, 300, 0)


def test_guesses_are_refused_beyond_their_rate_and_forgotten():
    queue = LookUps()
    add(queue, range(500), "192.0.2.1")
    queue.mark_unknown(queue.take(500).values(), NOW)
    assert add(queue, [1_000], "192.0.2.1") == [False]
    assert add(queue, [1_000], "192.0.2.2") == [True]
    assert add(queue, [1_001], "192.0.2.1", NOW + 20 * MS) == [True]
    queue.mark_unknown(queue.take(2).values(), NOW + 20 * MS)
    assert add(queue, [1_002], "192.0.2.1", NOW + 30 * MS) == [False]


def test_existing_keys_do_not_count_as_guesses():
    queue = LookUps()
    for start in range(0, 5_000, 500):
        assert all(add(queue, range(start, start + 500), "192.0.2.1"))
        queue.take(500)


def test_an_ipv6_network_counts_as_one_address():
    queue = LookUps()
    addresses = [f"2001:db8::{number:x}" for number in range(50)]
    for number, address in enumerate(addresses):
        add(queue, [number], address)
    queue.mark_unknown(queue.take(50).values(), NOW)
    assert add(queue, [100], "2001:db8::ffff") == [False]
    assert add(queue, [100], "2001:db8:0:1::1") == [True]


def test_an_ipv4_mapped_address_counts_as_ipv4():
    queue = LookUps()
    add(queue, range(50), "192.0.2.1")
    queue.mark_unknown(queue.take(50).values(), NOW)
    assert add(queue, [100], "::ffff:192.0.2.1") == [False]


def test_known_keys_come_first_and_are_never_refused():
    queue = LookUps()
    add(queue, range(500), "192.0.2.1")
    queue.add_known(digest(900), "key900")
    assert 900 in take(queue, 2)
