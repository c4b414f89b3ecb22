from hypothesis import given
from hypothesis import strategies as st

from keygauge_demo.traffic_counts import TrafficCounts

STATUS = st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503, 529])


@given(st.lists(st.tuples(STATUS, st.integers(0, 9), st.integers(0, 9))))
def test_every_answer_is_counted_in_its_categories(answers):
    counts = TrafficCounts()
    for status, given_tokens, made in answers:
        counts.sent += 1
        counts.record(status, input_tokens=given_tokens, output_tokens=made)
    statuses = [status for status, _, _ in answers]
    assert counts.answered == counts.sent == len(answers)
    assert counts.limited == statuses.count(429)
    assert counts.refused == statuses.count(401) + statuses.count(403)
    assert counts.admitted == sum(status not in {401, 403, 429, 503} for status in statuses)
    assert counts.failed == sum(status >= 400 and status != 429 for status in statuses)
    assert (counts.input_tokens, counts.output_tokens) == (
        sum(count for _, count, _ in answers),
        sum(count for _, _, count in answers),
    )
