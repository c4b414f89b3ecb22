import pytest

from keygauge_keyservice.limits.grant import Grant


def test_a_grant_is_immutable():
    grant = Grant("state", 3, 7, 1_000_000, 60_000_000)
    assert (grant.start_us, grant.wait_us, grant.bucket, grant.is_exact, grant.is_small) == (0, 0, 0, False, False)
    with pytest.raises(AttributeError):
        grant.units = 4
