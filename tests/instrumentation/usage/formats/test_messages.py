import json

import pytest

from keygauge.usage import Usage
from keygauge.usage.formats.messages import MessageReader, document_in


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


def test_each_response_of_a_session_is_a_separate_answer():
    reader = read(done("a", 3, 4), {"type": "response.created"}, done("b", 5, 6))
    assert [(part.answer, part.reading.usage) for part in reader.take_ended()] == [("a", Usage(3, 4))]
    assert (reader.last, reader.close(complete=True).usage, reader.answer) == (
        (Usage(5, 6), "gpt-realtime"),
        Usage(5, 6),
        "b",
    )


def test_each_turn_of_a_live_session_is_billed_separately():
    reader = read(turn(3, 1, complete=False), turn(3, 4), turn(7, 2))
    assert [part.reading.usage for part in reader.take_ended()] == [Usage(3, 4)]
    assert reader.last[0] == Usage(7, 2)


def test_turn_may_end_in_a_message_without_usage():
    ends = {"serverContent": {"turnComplete": True}}
    assert document_in(None, json.dumps(ends).encode())
    assert document_in(json.dumps(ends), None)
    interrupted = turn(3, 4, complete=False)
    reader = read(interrupted, ends, turn(7, 2))
    assert [part.reading.usage for part in reader.take_ended()] == [Usage(3, 4)]
    assert reader.last[0] == Usage(7, 2)


@pytest.mark.parametrize(
    "session",
    [
        {"type": "realtime", "model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        {"model": "gpt-realtime", "input_audio_transcription": {"model": "whisper-1", "language": "en"}},
    ],
)
def test_transcription_counts_for_the_transcription_model(session):
    usage = {"type": "tokens", "total_tokens": 22, "input_tokens": 13, "output_tokens": 9}
    heard = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "item_1", "usage": usage}
    unnamed = done("a", 3, 4)
    del unnamed["response"]["model"]
    reader = read({"type": "session.created", "session": session}, heard, unnamed)
    (first,) = reader.take_ended()
    assert (first.answer, first.reading.model, first.reading.usage) == ("item_1", "whisper-1", Usage(13, 9))
    assert reader.last == (Usage(3, 4), "gpt-realtime")


def test_later_session_may_name_another_transcription_model():
    session = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    updated = json.dumps({"type": "session.updated", "session": session})
    assert document_in(updated, None) == updated.encode()
    heard = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "usage": {"seconds": 3}}
    reader = read({"type": "session.created", "session": {"model": "gpt-realtime"}})
    reader.feed(updated.encode())
    reader.feed(json.dumps(heard).encode())
    assert reader.last == (Usage(details={"seconds": 3}), "gpt-4o-transcribe")


def test_session_may_end_at_any_time():
    for is_complete in (True, False):
        reading = read(done("a", 3, 4)).close(complete=is_complete)
        assert (reading.usage, reading.status) == (Usage(3, 4), "reported")
    assert read().close(complete=False).missing == "no_usage"


def test_error_does_not_end_a_session_and_garbage_is_ignored():
    reader = read({"type": "error", "error": {"message": "no"}})
    reader.feed(b"\x00\xff")
    reader.feed(json.dumps(done("a", 3, 4)).encode())
    assert (reader.last[0], reader.failed, reader.is_final) == (Usage(3, 4), False, False)


def test_only_messages_that_may_have_usage_are_parsed():
    assert document_in('{"usage": 1}', None) == document_in(None, b'{"usage": 1}') == b'{"usage": 1}'
    assert document_in('{"audio": ""}', None) is document_in(None, b"\x00") is document_in(None, None) is None


def test_session_model_is_found_in_an_early_message():
    created = {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}
    assert document_in(json.dumps(created), None) is None
    assert document_in(json.dumps(created), None, is_early=True) is not None
    unnamed = done("a", 3, 4)
    del unnamed["response"]["model"]
    reader = read(created, unnamed)
    assert (reader.last, reader.answer) == ((Usage(3, 4), "gpt-realtime"), "a")
