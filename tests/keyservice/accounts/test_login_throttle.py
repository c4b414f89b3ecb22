from keygauge_keyservice.accounts.login_throttle import (
    PER_DEVICE,
    PER_EMAIL,
    PER_EMAIL_AND_IP,
    PER_IP,
    WINDOW_S,
    admit,
    forgive,
)

EMAIL, IP = "ann@people.example", "192.0.2.1"


def tries(connection, most=200, **who):
    """Return how many tries are admitted before one is not."""
    return next((number for number in range(most) if not admit(connection, **who)), most)


def test_one_who_guesses_from_one_address_is_stopped_and_adds_none_to_the_count(connection):
    assert tries(connection, email=EMAIL, ip=IP) == PER_EMAIL_AND_IP
    assert not admit(connection, email=EMAIL, ip=IP)
    assert connection.execute("SELECT count(*) AS n FROM sign_in_failure").fetchone()["n"] == PER_EMAIL_AND_IP
    assert admit(connection, email=EMAIL, ip="192.0.2.2")
    assert admit(connection, email="bob@people.example", ip=IP)


def test_all_addresses_of_an_ipv6_network_are_one(connection):
    admitted = [admit(connection, email=EMAIL, ip=f"2001:db8::{number:x}") for number in range(PER_EMAIL_AND_IP + 1)]
    assert admitted == [True] * PER_EMAIL_AND_IP + [False]


def test_an_address_that_tries_many_members_is_stopped(connection):
    admitted = [admit(connection, email=f"m{number}@people.example", ip=IP) for number in range(PER_IP + 1)]
    assert admitted == [True] * PER_IP + [False]


def test_a_member_who_is_attacked_from_everywhere_signs_in_from_a_known_browser(connection):
    admitted = [admit(connection, email=EMAIL, ip=f"192.0.2.{number}") for number in range(PER_EMAIL + 1)]
    assert admitted == [True] * PER_EMAIL + [False]
    assert tries(connection, email=EMAIL, ip=IP, device="d1") == PER_DEVICE
    assert admit(connection, email=EMAIL, ip=IP, device="d2")


def test_failures_are_forgotten_when_the_member_signs_in_and_in_time(connection):
    tries(connection, email=EMAIL, ip=IP)
    forgive(connection, email=EMAIL, ip=IP)
    assert tries(connection, email=EMAIL, ip=IP) == PER_EMAIL_AND_IP
    connection.execute("UPDATE sign_in_failure SET at = at - make_interval(secs => %s)", (WINDOW_S + 1,))
    assert admit(connection, email=EMAIL, ip=IP)
