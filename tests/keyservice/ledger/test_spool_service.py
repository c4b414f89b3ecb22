import pytest

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger.spool_service import claim


def test_a_spool_is_that_services_which_sends_it_first(connection):
    for _ in range(2):
        claim(connection, "ab", "api")
    for other in ("shop", None):
        with pytest.raises(Problem) as caught:
            claim(connection, "ab", other)
        assert (caught.value.status, caught.value.code) == (403, "spool_of_another")


def test_the_environments_token_sends_what_is_unbound_and_binds_nothing(connection):
    claim(connection, "ab", None)
    claim(connection, "ab", "api")
    with pytest.raises(Problem):
        claim(connection, "ab", None)
