import pytest

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.notices import channels

OWNER = "owner@acme.example"


@pytest.mark.parametrize(
    ("form", "target", "kinds"),
    [
        ("webhook", "http://receiver.test/", ["quota"]),
        ("webhook", "https://user:pass@receiver.test/", ["quota"]),
        ("webhook", "file:///etc/passwd", ["quota"]),
        ("webhook", "https://receiver.test:99999/", ["quota"]),
        ("webhook", "https://receiver.test/\r\nHost: x", ["quota"]),
        ("slack", "https://receiver.test/", ["quota"]),
        ("email", "stranger@elsewhere.example", ["quota"]),
        ("email", OWNER, []),
        ("email", OWNER, ["everything"]),
        ("pigeon", OWNER, ["quota"]),
    ],
)
def test_invalid_channel_is_rejected(connection, account, form, target, kinds):
    with pytest.raises(Problem) as refused:
        channels.create(connection, account_id=account.id, form=form, target=target, kinds=kinds, actor=OWNER)
    assert refused.value.status == 422
    assert channels.list_channels(connection, account.id) == []
