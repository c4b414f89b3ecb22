import time

import pytest

from keygauge.limits.reading.estimate import estimate
from keygauge.usage import operations, request_model


@pytest.mark.parametrize(
    ("path", "template", "free"),
    [
        ("/v1/batches", None, True),
        ("/v1/batches/batch_1/cancel", "/v1/batches/{batch_id}/cancel", True),
        ("/v1/files/file_1/content", "/v1/files/{file_id}/content", True),
        ("/v1/messages/count_tokens", "/v1/messages/{path}", True),
        ("/v1/responses/resp_1/cancel/", None, True),
        ("/v1/chat/completions", "/v1/chat/completions", False),
        ("/batches/v1/chat/completions", "/{project}/v1/chat/completions", False),
        ("/batches/v1/chat/completions", None, False),
        ("/batches/chat", "/{project}/chat", False),
        ("/batches/chat/", "/<project>/chat/", False),
        ("/v1/files/file_1/ask", "/v1/files/{file_id}/ask", False),
        ("/v1/uploads/upload_1/ask", None, False),
    ],
)
def test_only_operations_that_use_nothing_are_free(path, template, free):
    assert operations.is_free(path, template) is free


@pytest.mark.parametrize(
    ("path", "template", "shown"),
    [
        ("/v1/responses/resp_1", "/v1/responses/{response_id}", True),
        ("/v1/batches", "/v1/{path}", True),
        ("/async/chat/completions/job_1", "/async/chat/completions/{job_id}", True),
        ("/v1/async/sonar/job_1", None, True),
        ("/v1/threads/thread_1/runs/run_1/steps", None, True),
        ("/responses/chat", "/{project}/chat", False),
        ("/v1/chat", "/v1/chat", False),
    ],
)
def test_only_reads_of_stored_answers_show_them(path, template, shown):
    assert operations.is_shown(path, template) is shown


@pytest.mark.parametrize(
    ("method", "body_bytes", "reads"),
    [
        ("GET", 0, True),
        ("HEAD", 0, True),
        ("DELETE", 0, True),
        ("GET", 12, False),
        ("DELETE", 1, False),
        ("POST", 0, False),
    ],
)
def test_call_with_a_body_is_not_a_read(method, body_bytes, reads):
    assert operations.reads(method, body_bytes) is reads


def seconds_of(work):
    """Return the CPU time of some work, the minimum of a few runs."""
    times = []
    for _ in range(5):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return min(times)


def look_at(path):
    operations.is_shown(path)
    operations.is_free.__wrapped__(path)
    operations.writes_nothing(path)
    operations.names_a_model(path)


@pytest.mark.parametrize(
    "part", ["/batches", "/models/", "/v1/files", "/chat/completions", "/threads/a/runs", "/a:embed"]
)
def test_path_is_matched_in_linear_time(part):
    long, short = f"{part * 8_000}//", f"{part * 1_000}//"
    assert seconds_of(lambda: look_at(long)) < 20 * seconds_of(lambda: look_at(short))


@pytest.mark.parametrize(
    ("read", "part"),
    [
        (lambda body: request_model.find(b"--b\r\n" + body, b""), b"name=model\n"),
        (lambda body: request_model.find(b"{" + body, b""), b'"model" '),
    ],
)
def test_body_is_read_in_linear_time(read, part):
    short = part * (8_000 // len(part))
    assert seconds_of(lambda: read(short * 8)) < 24 * seconds_of(lambda: read(short))


def test_near_match_of_a_file_is_estimated_as_fast_as_text():
    def seconds(part):
        body = b'{"prompt": "' + part * (100_000 // len(part)) + b'"}'
        return seconds_of(lambda: estimate(body, length=len(body), path="/x"))

    assert seconds(b"a" * 8_191 + b" ") < 20 * seconds(b"word ")
