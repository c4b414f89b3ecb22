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
    """Return the number of attempts that are admitted before the first one that is not."""
    return next((number for number in range(most) if not admit(connection, **who)), most)


def test_guesses_from_one_ip_are_blocked_and_then_no_longer_counted(connection):
    assert tries(connection, email=EMAIL, ip=IP) == PER_EMAIL_AND_IP
    assert not admit(connection, email=EMAIL, ip=IP)
    assert connection.execute("SELECT count(*) AS n FROM sign_in_failure").fetchone()["n"] == PER_EMAIL_AND_IP
    assert admit(connection, email=EMAIL, ip="192.0.2.2")
    assert admit(connection, email="bob@people.example", ip=IP)


def test_addresses_of_an_ipv6_network_count_as_one(connection):
    admitted = [admit(connection, email=EMAIL, ip=f"2001:db8::{number:x}") for number in range(PER_EMAIL_AND_IP + 1)]
    assert admitted == [True] * PER_EMAIL_AND_IP + [False]


def test_an_ip_that_tries_many_members_is_blocked(connection):
    admitted = [admit(connection, email=f"m{number}@people.example", ip=IP) for number in range(PER_IP + 1)]
    assert admitted == [True] * PER_IP + [False]


def test_a_member_under_attack_can_sign_in_from_a_known_browser(connection):
    admitted = [admit(connection, email=EMAIL, ip=f"192.0.2.{number}") for number in range(PER_EMAIL + 1)]
    assert admitted == [True] * PER_EMAIL + [False]
    assert tries(connection, email=EMAIL, ip=IP, device="d1") == PER_DEVICE
    assert admit(connection, email=EMAIL, ip=IP, device="d2")


def test_a_sign_in_is_no_failure_and_failures_expire(connection):
    tries(connection, most=PER_EMAIL_AND_IP - 1, email=EMAIL, ip=IP)
    admit(connection, email=EMAIL, ip=IP)
    forgive(connection, email=EMAIL, ip=IP)
    assert tries(connection, email=EMAIL, ip=IP) == 1  # earlier failures remain
    connection.execute("UPDATE sign_in_failure SET at = at - make_interval(secs => %s)", (WINDOW_S + 1,))
    assert admit(connection, email=EMAIL, ip=IP)
