"""Which header holds the key."""

import pytest

from keygauge.limits.credential import CONFLICT, find


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([(b"authorization", b"Bearer kg_1")], b"kg_1"),
        ([(b"authorization", b"bearer   kg_1 ")], b"kg_1"),
        ([(b"authorization", b"Basic dXNlcjpwYXNz")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"x-api-key", b"kg_1")], b"kg_1"),
        ([(b"api-key", b"kg_1")], b"kg_1"),
        ([(b"x-goog-api-key", b" kg_1")], b"kg_1"),
        ([(b"x-api-key", b"")], None),
        ([(b"authorization", b"Bearer kg_1"), (b"x-api-key", b"kg_1")], b"kg_1"),
        ([(b"authorization", b"Bearer kg_1"), (b"x-api-key", b"kg_2")], CONFLICT),
        ([(b"x-api-key", b"kg_1"), (b"x-api-key", b"kg_2")], CONFLICT),
        ([(b"authorization", b"Basic dXNlcjpwYXNz"), (b"x-api-key", b"kg_2")], b"kg_2"),
        ([(b"cookie", b"x-api-key=kg_1")], None),
    ],
)
def test_credential(headers, found):
    assert find(headers) == found
