from hypothesis import given
from hypothesis import strategies as st

from keygauge_demo.tally import Tally

STATUS = st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503, 529])


@given(st.lists(st.tuples(STATUS, st.integers(0, 9), st.integers(0, 9))))
def test_every_answer_is_counted_under_one_head(answers):
    tally = Tally()
    for status, given_tokens, made in answers:
        tally.sent += 1
        tally.record(status, input_tokens=given_tokens, output_tokens=made)
    statuses = [status for status, _, _ in answers]
    assert tally.answered == tally.sent == len(answers)
    assert tally.limited == statuses.count(429)
    assert tally.refused == statuses.count(401) + statuses.count(403)
    assert tally.admitted == sum(status not in {401, 403, 429, 503} for status in statuses)
    assert tally.failed == sum(status >= 400 and status != 429 for status in statuses)
    assert (tally.input_tokens, tally.output_tokens) == (
        sum(count for _, count, _ in answers),
        sum(count for _, _, count in answers),
    )
