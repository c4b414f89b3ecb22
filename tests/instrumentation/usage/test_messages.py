import json

from keygauge.usage import Usage
from keygauge.usage.messages import MessageReader, document_in


def done(name, given, made):
    usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
    return {"type": "response.done", "response": {"id": name, "model": "gpt-realtime", "usage": usage}}


def turn(given, made, *, complete=True):
    usage = {"promptTokenCount": given, "responseTokenCount": made, "totalTokenCount": given + made}
    return {"usageMetadata": usage, "serverContent": {"turnComplete": complete}}


def read(*documents):
    reader = MessageReader()
    for document in documents:
        reader.feed(json.dumps(document).encode())
    return reader


def test_a_session_is_the_sum_of_its_responses():
    reader = read(done("a", 3, 4), {"type": "response.created"}, done("b", 5, 6))
    assert (reader.usage, reader.model, reader.answer) == (Usage(8, 10), "gpt-realtime", "a")


def test_every_turn_of_a_live_session_is_billed_for_itself():
    assert read(turn(3, 1, complete=False), turn(3, 4), turn(7, 2)).usage == Usage(10, 6)


def test_a_session_may_end_at_any_time():
    for is_complete in (True, False):
        reading = read(done("a", 3, 4)).close(complete=is_complete)
        assert (reading.usage, reading.status) == (Usage(3, 4), "reported")
    assert read().close(complete=False).missing == "no_usage"


def test_an_error_does_not_end_a_session_and_garbage_is_passed_over():
    reader = read({"type": "error", "error": {"message": "no"}})
    reader.feed(b"\x00\xff")
    reader.feed(json.dumps(done("a", 3, 4)).encode())
    assert (reader.usage, reader.failed, reader.is_final) == (Usage(3, 4), False, False)


def test_only_messages_that_may_tell_usage_are_handed_on():
    assert document_in('{"usage": 1}', None) == document_in(None, b'{"usage": 1}') == b'{"usage": 1}'
    assert document_in('{"audio": ""}', None) is document_in(None, b"\x00") is document_in(None, None) is None


def test_a_session_tells_its_model_in_an_early_message():
    created = {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}
    assert document_in(json.dumps(created), None) is None
    assert document_in(json.dumps(created), None, is_early=True) is not None
    unnamed = done("a", 3, 4)
    del unnamed["response"]["model"]
    reader = read(created, unnamed)
    assert (reader.usage, reader.model, reader.answer) == (Usage(3, 4), "gpt-realtime", "a")
