import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage.accumulator import Accumulator
from keygauge.usage.counts import Usage


def chunk(given, made, *, done=True, name="chatcmpl-1", **usage):
    return {
        "id": name,
        "model": "gpt-4o",
        "choices": [] if done else [{"finish_reason": None, "delta": {}}],
        "usage": {"prompt_tokens": given, "completion_tokens": made, **usage},
    }


def read(*documents, complete=True, reason=None):
    accumulator = Accumulator()
    for document in documents:
        accumulator.take(document)
    return accumulator.read(complete=complete, reason=reason)


def read_all(*documents, complete=True):
    """Return the usage of each answer."""
    accumulator = Accumulator()
    for document in documents:
        accumulator.take(document)
    reading = accumulator.read(complete=complete)
    return [part.reading.usage for part in accumulator.others] + [reading.usage]


def test_single_document_is_read():
    assert read(chunk(3, 4)) == (Usage(3, 4), "gpt-4o", "openai", "reported", None)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6))
def test_largest_counts_of_an_answer_apply(counts):
    *running, last = counts
    reading = read(*(chunk(*count, done=False) for count in running), chunk(*last))
    assert reading.usage == Usage(*(max(column) for column in zip(*counts, strict=True)))
    assert reading.status == "reported"


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6))
def test_answers_with_different_ids_are_separate(counts):
    documents = [chunk(*count, name=str(number)) for number, count in enumerate(counts)]
    assert read_all(*documents) == [Usage(*count) for count in counts]


def test_each_answer_has_its_own_model_provider_id_and_status():
    accumulator = Accumulator()
    accumulator.take(chunk(3, 4, name="a"))
    accumulator.take(chunk(5, 6, name="b", done=False) | {"model": "claude-opus-4-1"})
    reading = accumulator.read(complete=False)
    assert reading == (Usage(5, 6), "claude-opus-4-1", "anthropic", "partial", "cut")
    assert accumulator.id == "b"
    assert accumulator.others == [((Usage(3, 4), "gpt-4o", "openai", "reported", None), "a")]


def test_beyond_the_maximum_the_last_answer_has_the_rest():
    documents = [chunk(3, 4, name=str(number)) for number in range(1000)]
    usages = read_all(*documents)
    assert len(usages) == 256
    assert (sum(usage.input_tokens for usage in usages), sum(usage.output_tokens for usage in usages)) == (3000, 4000)


def test_ended_answers_are_taken_once():
    accumulator = Accumulator()
    accumulator.take(chunk(3, 4, name="a"))
    assert accumulator.take_ended() == []
    accumulator.take(chunk(5, 6, name="b"))
    assert [(part.answer, part.reading.usage) for part in accumulator.take_ended()] == [("a", Usage(3, 4))]
    assert accumulator.take_ended() == []
    assert (accumulator.last, accumulator.read(complete=True).usage) == ((Usage(5, 6), "gpt-4o"), Usage(5, 6))


def choice(index, made, *, given=7, finish=None):
    return chunk(given, made, total_tokens=given + made) | {
        "choices": [{"index": index, "delta": {}, "finish_reason": finish}]
    }


def test_choices_that_report_their_own_output_are_added_up():
    both = [choice(0, 0), choice(1, 0), choice(0, 1), choice(1, 1), choice(0, 2), choice(1, 2), choice(1, 3)]
    assert read(*both, complete=False)[0::3] == (Usage(7, 5), "partial")
    one_done = [*both, choice(0, 3, finish="stop")]
    assert read(*one_done, complete=False)[0::3] == (Usage(7, 6), "partial")
    assert read(*one_done, choice(1, 4, finish="stop"), complete=False)[0::3] == (Usage(7, 7), "reported")
    assert read(*both, chunk(7, 9, total_tokens=16))[0::3] == (Usage(7, 9), "reported")


def test_choices_that_report_the_total_output_are_not_added_up():
    running = [choice(0, 0), choice(1, 0), choice(0, 1), choice(1, 2), choice(0, 3), choice(1, 4)]
    assert read(*running, complete=False)[0::3] == (Usage(7, 4), "partial")
    assert read(*running, choice(0, 5, finish="stop"), choice(1, 6, finish="stop")).usage == Usage(7, 6)


def test_explicitly_ended_answer_is_separate_from_the_next():
    accumulator = Accumulator()
    for count in ((3, 4), (2, 1)):
        accumulator.take(chunk(*count, name=None))
        accumulator.end_answer()
    assert [part.reading.usage for part in accumulator.take_ended()] == [Usage(3, 4)]
    assert accumulator.last[0] == Usage(2, 1)


def test_counts_so_far_are_complete_only_if_the_stream_ended_normally():
    running = chunk(3, 4, done=False)
    assert read(running).status == "reported"
    assert read(running, complete=False)[3:] == ("partial", "cut")
    assert read(running, reason="too_large")[3:] == ("partial", "too_large")
    assert read(chunk(3, 4), complete=False).status == "reported"


def test_opening_alone_is_never_complete():
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1}}}
    assert read(start)[3:] == ("partial", "cut")
    end = {"type": "message_delta", "usage": {"output_tokens": 7}}
    assert read(start, end)[:1] + read(start, end)[3:] == (Usage(9, 7), "reported", None)


def test_reason_is_given_if_there_is_no_usage():
    assert read({"model": "gpt-4o"}) == (None, "gpt-4o", None, "none", "no_usage")
    assert read(complete=False).missing == "cut"
    assert read(reason="not_json").missing == "not_json"
    assert read(chunk("many", -1))[3:] == ("none", "bad_counts")


def test_bad_count_makes_the_answer_partial_unless_the_final_count_is_valid():
    assert read(chunk(3, -4))[0] == Usage(3)
    assert read(chunk(3, -4))[3:] == ("partial", "bad_counts")
    assert read(chunk(3, -4, done=False), chunk(3, 4))[3:] == ("reported", None)
    accumulator = Accumulator()
    accumulator.take(chunk(3, -4, name="a"))
    accumulator.take(chunk(3, 4, name="b"))
    assert accumulator.read(complete=True)[3:] == ("reported", None)
    assert accumulator.others[0].reading[3:] == ("partial", "bad_counts")


def test_total_reveals_hidden_counts():
    assert read(chunk(3, 4, total_tokens=10)).usage == Usage(3, 7)
    assert read(chunk(None, None, total_tokens=10)).usage == Usage(10, None)


def test_errors_and_ids_are_kept():
    accumulator = Accumulator()
    accumulator.take({"id": "a", "choices": []})
    accumulator.take({"id": "b", "error": {"message": "overloaded"}})
    assert (accumulator.id, accumulator.failed, accumulator.is_final) == ("a", True, False)


def message(stage, **usage):
    named = {
        f"cache_{name}_input_tokens" if name in ("read", "creation") else f"{name}_tokens": usage[name]
        for name in usage
    }
    if stage == "start":
        return {"type": "message_start", "message": {"id": "msg_1", "type": "message", "usage": named}}
    return {"type": "message_delta", "usage": named}


@pytest.mark.parametrize(
    ("start", "delta", "usage"),
    [
        ({"input": 15, "read": 0, "creation": 100}, {"input": 15, "read": 100, "creation": 0}, (115, 100, 0)),
        ({"input": 115}, {"input": 15, "read": 100}, (115, 100, None)),
        ({"input": 0}, {"input": 15, "read": 100}, (115, 100, None)),
        ({"input": 15, "read": 100}, {"input": 0, "read": 0}, (115, 100, None)),
        ({"input": 15, "read": 100}, {}, (115, 100, None)),
        ({"input": 15}, {"input": 300, "read": 100}, (400, 100, None)),
    ],
)
def test_tokens_moved_between_input_and_caches_are_counted_once(start, delta, usage):
    reading = read(message("start", output=1, **start), message("delta", output=20, **delta))
    assert (*reading.usage[0:4:2], reading.usage[3]) == usage
    assert (reading.usage.output_tokens, reading.status) == (20, "reported")


def test_usage_repeated_under_another_id_without_choices_is_counted_once():
    finished = [{"finish_reason": "stop", "delta": {}}]
    first, again = chunk(3, 4, name="a") | {"choices": finished}, chunk(3, 4, name="b")
    assert read_all(first, again) == [Usage(3, 4)]
    second, once_more = chunk(5, 6, name="c") | {"choices": finished}, chunk(5, 6, name="d")
    assert read_all(first, again, second, once_more) == [Usage(3, 4), Usage(5, 6)]
    assert read_all(first, second) == [Usage(3, 4), Usage(5, 6)]
    assert read_all(chunk(3, 4, name="a"), chunk(3, 4, name="b")) == [Usage(3, 4)] * 2


def test_interleaved_answers_each_count_their_own_largest():
    a, b = chunk(100, 10, name="a", done=False), chunk(50, 2, name="b", done=False)
    a_done, b_done = chunk(100, 20, name="a"), chunk(50, 5, name="b")
    for order in ((b, a, b_done, a_done), (b, a, a_done, b_done), (a, b, a, b, b_done, a, a_done, b_done, b_done)):
        assert sorted(read_all(*order)) == [Usage(50, 5), Usage(100, 20)]


def test_answer_repeated_after_another_is_counted_once():
    a, b = chunk(5, 7, name="a"), chunk(7, 7, name="b")
    assert read_all(a, b, a) == read_all(a, b, a, b, a) == [Usage(5, 7), Usage(7, 7)]
    assert read_all(a, b, chunk(5, 9, name="a")) == [Usage(5, 9), Usage(7, 7)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12))
def test_each_answer_counts_its_largest_in_any_order(counts):
    finals = [chunk(given, made, name=str(name)) for name, given, made in counts]
    largest = {}
    for name, *count in counts:
        largest[name] = [max(pair) for pair in zip(count, largest.get(name, (0, 0)), strict=True)]
    assert read_all(*finals) == [Usage(*count) for count in largest.values()]
