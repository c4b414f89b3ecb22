import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge import protocol

HEAD = {"replica": "0" * 32, "service": "api", "host": "h", "version": "1", "mode": "enforce"}


def read(kind, document):
    return msgspec.json.decode(msgspec.json.encode(document), type=kind)


def test_minimal_heartbeat_and_unknown_fields_are_accepted():
    heartbeat = read(protocol.Heartbeat, HEAD | {"newer": {"a": [1]}})
    assert (heartbeat.cursor, heartbeat.acquire, heartbeat.returns, heartbeat.plans) == (None, [], [], False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": "0" * 31},
        {"replica": "G" * 32},
        {"service": "a\nb"},
        {"service": "s" * 201},
        {"mode": "off"},
        {"cursor": -1},
        {"cursor": 2**53},
        {"cursor": 1.5},
        {"acquire": [{"limit": "1", "units": 0}]},
        {"acquire": [{"limit": "1", "units": 1, "life_ms": 20_001}]},
        {"acquire": [{"limit": "1", "units": 1}] * 2},
        {"return": [{"lease": "1"}]},
        {"look_up": [{"key": "k", "digest": "0" * 63}]},
        {"hold": [{"lease": "1", "units": 1}] * (protocol.ENTRIES_MAX + 1)},
    ],
)
def test_invalid_heartbeat_is_rejected(wrong):
    with pytest.raises(msgspec.ValidationError):
        read(protocol.Heartbeat, HEAD | wrong)


def test_report_has_each_hour_once_and_hours_start_on_the_hour():
    hour = {"hour": 7200, "requests": 1, "input_tokens": 0, "output_tokens": 0}
    report = {"spool": "ab", "replica": "0", "service": "api", "host": "h", "written": 3, "hours": [hour]}
    assert read(protocol.Report, report).hours[0].hour == 7200
    for hours in ([hour, hour], [hour | {"hour": 7201}], [hour | {"hour": -3600}]):
        with pytest.raises(msgspec.ValidationError):
            read(protocol.Report, report | {"hours": hours})


COUNT = st.integers(0, 2**53 - 1)
GRANTS = st.builds(
    protocol.Grant,
    limit=st.text(max_size=9),
    lease=st.text(max_size=9),
    units=COUNT,
    start_us=COUNT,
    wait_us=COUNT,
    left_ms=COUNT,
    exact=st.booleans(),
    small=st.booleans(),
    remaining=COUNT,
    unused=COUNT,
    told_ms=COUNT,
    reset_ms=COUNT,
    retry_ms=COUNT,
    replicas=st.integers(1, 2**53 - 1),
)


@given(st.lists(GRANTS, max_size=3))
def test_heartbeat_answer_round_trips(grants):
    answer = protocol.HeartbeatAnswer(
        cursor=1,
        epoch="e",
        more=False,
        afresh=True,
        t_max_ms=10_000,
        replicas=1,
        found=[protocol.Found("0" * 64, "k", 1)],
        unknown=["f" * 64],
        keys=[],
        plans=[],
        prices=None,
        held=[],
        grants=grants,
        denials=[],
        unused=[protocol.Unused("9", 3, 20)],
        wanted=["9"],
    )
    assert read(protocol.HeartbeatAnswer, answer) == answer


def test_return_has_unspent_or_used_units():
    for told in ({"unspent": 0}, {"used": 3}, {"unspent": 1, "ago_us": 5, "exact": True}):
        written = read(protocol.Return, {"lease": "1"} | told)
        assert msgspec.to_builtins(written) == {"lease": "1"} | told
