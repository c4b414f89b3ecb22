from collections import Counter

import pytest
from scripted import scripted

from keygauge.settings.settings import Settings
from keygauge.spool.adopter import _CLAIM_S, Adopter
from keygauge.spool.spool import Ownership, Spool

PAUSE_S = 30.0


@pytest.fixture
def adopt(tmp_path):
    """Return `adopt(spools, *answers)`: create dead spools, adopt once, and return pause, requests and spools left."""

    def adopt(spools, *answers):
        with scripted(*answers) as service:
            settings = Settings(service_url=service.url, service_token="t" * 20, spool_dir=tmp_path)
            own = Spool(tmp_path, settings.service_address, most_bytes=10_000, on_drop=print)
            for name, count in spools.items():
                dead = Ownership.create(tmp_path, name, settings.service_address)
                (tmp_path / f"{name}.{0:016d}.ndjson").write_bytes(b"[1,1]\n" * count)
                dead.release()
            adopter = Adopter(
                settings, own, interval_s=PAUSE_S, epoch=lambda: None, on_drop=Counter().update, on_fault=print
            )
            pause_s = adopter.adopt()
            adopter._sender.close()
            own.close(empty=True)
        left = sorted({path.name.partition(".")[0] for path in tmp_path.glob("*.ndjson")})
        return pause_s, [path for path, _ in service.asked], left

    return adopt


def taken(up_to):
    return 200, {"next": up_to, "refused": []}


def test_spools_of_dead_processes_are_sent_and_deleted(adopt):
    pause_s, asked, left = adopt({"aa": 3, "bb": 3}, taken(3))
    assert pause_s == PAUSE_S
    assert [path.partition("&")[0] for path in sorted(asked)] == ["/v1/events?spool=aa", "/v1/events?spool=bb"]
    assert left == []


def test_failing_spool_stays_and_does_not_block_others(adopt, caplog):
    pause_s, asked, left = adopt({"aa": 3, "bb": 3}, (503, {}), taken(3))
    assert (pause_s, len(asked), len(left)) == (PAUSE_S, 2, 1)
    assert "stays on disk" in caplog.text


def test_claimed_spool_is_retried_soon(adopt, caplog):
    pause_s, _, left = adopt({"aa": 3}, (409, {"code": "claimed"}))
    assert (pause_s, left) == (_CLAIM_S, ["aa"])
    assert "stays on disk" not in caplog.text
