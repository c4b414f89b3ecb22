from keygauge_keyservice.ledger import kinds
from keygauge_keyservice.ledger.rollup import group_of


def test_kinds_are_summed_by_quarter_and_day_and_events_without_any_add_no_rows(connection, make_event):
    kinds.write(connection, [make_event(), make_event(details={})], group_of)
    assert connection.execute("SELECT count(*) AS rows FROM usage_kind").fetchone() == {"rows": 0}
    events = [
        make_event(details={"images": 2, "seconds": 0}),
        make_event(60, details={"images": 1}),
        make_event(3600, details={"images": 5}),
    ]
    for _ in range(2):
        kinds.write(connection, events, group_of)
    rows = connection.execute("SELECT length_s, kind, count FROM usage_kind ORDER BY length_s, count").fetchall()
    assert [tuple(row.values()) for row in rows] == [(900, "images", 6), (900, "images", 10), (86_400, "images", 16)]


def test_calls_refused_for_another_reason_than_a_limit_are_counted(connection, make_event):
    outcomes = ["admitted", "forbidden", "expired", "limited", "quota", "would_limit", "degraded", "part"]
    events = [make_event(outcome=outcome, details={"images": 1}) for outcome in outcomes]
    kinds.write(connection, [*events, make_event(outcome="unavailable")], group_of)
    rows = connection.execute("SELECT kind, count FROM usage_kind WHERE length_s = 900 ORDER BY kind").fetchall()
    assert {row["kind"]: row["count"] for row in rows} == {kinds.REFUSED: 3, "images": 8}
