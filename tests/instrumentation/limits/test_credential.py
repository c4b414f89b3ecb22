"""The choice of the header that holds the key."""

import pytest

from keygauge.limits.credential import CONFLICT, find, headers_for


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
        ([(b"authorization", b"Bearer eyJhbGciOi.J9.x"), (b"x-api-key", b"kg_2")], b"kg_2"),  # the host's own JWT
        ([(b"authorization", b"Bearer kg_1"), (b"x-api-key", b"sk-of-the-host")], b"kg_1"),
        ([(b"authorization", b"Bearer sk-of-the-host")], b"sk-of-the-host"),
        ([(b"authorization", b"Bearer sk-1"), (b"x-api-key", b"sk-2")], CONFLICT),
    ],
)
def test_credential(headers, found):
    assert find(headers) == found


def test_a_single_header_can_be_configured():
    headers = [(b"authorization", b"Bearer kg_1"), (b"x-keygauge-key", b"kg_2")]
    assert find(headers, headers_for("X-KeyGauge-Key")) == b"kg_2"
    assert find(headers[:1], headers_for("X-KeyGauge-Key")) is None
    assert find(headers, headers_for(None)) == b"kg_1"
