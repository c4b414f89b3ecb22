import pytest

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.ledger.spool_service import claim


def test_a_spool_belongs_to_the_service_that_sends_it_first(connection):
    for _ in range(2):
        claim(connection, "ab", "api")
    for other in ("shop", None):
        with pytest.raises(Problem) as caught:
            claim(connection, "ab", other)
        assert (caught.value.status, caught.value.code) == (403, "spool_of_another")


def test_the_environments_token_sends_unbound_spools_and_does_not_bind_them(connection):
    claim(connection, "ab", None)
    claim(connection, "ab", "api")
    with pytest.raises(Problem):
        claim(connection, "ab", None)
