from collections import Counter

import pytest
from scripted import scripted

from keygauge.settings.settings import Settings
from keygauge.spool.segment import SpoolReader, segment_path
from keygauge.spool.sender import Sender
from keygauge.sync.client import ServiceError

LINES = [b"[%d,1]\n" % number for number in range(5)]


@pytest.fixture
def send(tmp_path):
    """Return `send(*answers)`, which sends a spool of five events and returns the requests and the drops."""

    def send(*answers):
        segment_path(tmp_path, "ab", 0).write_bytes(b"".join(LINES))
        reader, drops = SpoolReader(tmp_path, "ab"), Counter()
        with scripted(*answers) as service:
            settings = Settings(service_url=service.url, service_token="t" * 20, spool_dir=tmp_path)
            sender = Sender(settings, "cd", on_drop=lambda reason: drops.update([reason]))
            try:
                while sender.send(reader):
                    pass
            finally:
                sender.close()
        return service.asked, drops

    return send


def taken(up_to, *refused):
    return 200, {"next": up_to, "refused": [{"number": number, "code": "bad_json"} for number in refused]}


def test_batch_request_has_owner_first_and_oldest_number(send):
    ((path, body),), drops = send(taken(5))
    assert path == "/v1/events?spool=ab&first=0&oldest=0&owner=cd"
    assert body == b"".join(LINES)
    assert not drops


def test_unacknowledged_events_are_sent_again(send):
    asked, _ = send(taken(3), taken(5))
    assert [body for _, body in asked] == [b"".join(LINES), b"".join(LINES[3:])]
    assert "first=3" in asked[1][0]


def test_refused_events_are_counted_and_dropped(send):
    asked, drops = send(taken(5, 1, 2))
    assert (len(asked), drops) == (1, {"refused": 2})


def test_refused_batch_loses_only_its_bad_lines(send):
    bad = 422, {"code": "bad"}
    asked, drops = send(bad, taken(1), bad, taken(3), taken(4), taken(5))
    assert [body for _, body in asked[1:]] == LINES
    assert drops == {"refused": 1}


def test_unreachable_ledger_loses_no_events(send):
    with pytest.raises(ServiceError) as caught:
        send((503, {}))
    assert caught.value.status == 503
    asked, drops = send(taken(5))
    assert (len(asked), drops) == (1, {})
