from uuid import UUID

import pytest

from keygauge_keyservice.ledger.copy import copied_events, event_id
from keygauge_keyservice.ledger.partition import ensure, month_of
from keygauge_keyservice.pricing.cost import Cost


def test_ids_are_uuid_version_7_ordered_by_time_and_stable():
    ids = [UUID(event_id("a1", number, 1_790_000_000_000_000 + number * 1_000)) for number in range(100)]
    assert ids == sorted(ids)
    assert {made.version for made in ids} == {7}
    assert ids[5].hex == event_id("a1", 5, 1_790_000_000_005_000)
    assert ids[5].hex != event_id("a2", 5, 1_790_000_000_005_000)


@pytest.mark.parametrize("cost", [None, Cost(2**60, "list 1"), Cost(7, "list 1", 2**300 + 1)])
def test_every_field_round_trips(connection, make_event, noon, cost):
    ensure(connection, [month_of(noon)])
    error = 'Größe, "quoted" \\ null 模型'
    event = make_event(
        0.000007,
        error=error,
        model="null",
        ip="",
        first_token_us=7,
        stream="sse",
        messages=3,
        reasoning_tokens=5,
        limit="rpm",
        details={"images": 2, "input_audio": 10**9},
    )
    with connection.transaction(), copied_events(connection, "a1", [(4, event, cost)]):
        pass
    row = connection.execute("SELECT * FROM event").fetchone()
    assert row.pop("id").hex == event_id("a1", 4, event.time_us)
    assert round(row.pop("time").timestamp() * 1_000_000) == event.time_us
    kind_costs = row.pop("kind_costs")
    assert (row.pop("cost_nanousd"), row.pop("price_version")) == (cost[:2] if cost else (None, None))
    assert kind_costs == (cost.kind_costs or None if cost else None)
    renamed = {"account_id": "account", "key_id": "key", "limit_name": "limit"}
    for name, value in row.items():
        assert value == getattr(event, renamed.get(name, name)), name


def test_ids_of_simultaneous_events_differ_by_spool_and_number():
    spools = [f"{number:032x}" for number in range(50)]
    made = {event_id(spool, number, 1_790_000_000_000_000) for spool in spools for number in range(200)}
    assert len(made) == 50 * 200
    assert {UUID(one).variant for one in made} == {"specified in RFC 4122"}
    assert UUID(event_id("a1", 1 << 53, 0)).version == 7
