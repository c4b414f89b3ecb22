import json

import pytest

from keygauge.http import problem
from keygauge.limits.refusal import Refusal


def told(refusal, fields=(), **options):
    answer = problem.answer(refusal, list(fields), **options)
    return answer, dict(answer.headers), json.loads(answer.body)


@pytest.mark.parametrize("code", problem._KINDS)
def test_every_answer_is_a_problem_that_says_what_to_do(code):
    answer, headers, document = told(Refusal("limited", code))
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(answer.body)
    assert headers[b"cache-control"] == b"no-store"
    assert (document["status"], document["code"]) == (answer.status, code)
    assert document["message"] == f"{document['title']}. {document['detail']}"
    assert (b"www-authenticate" in headers) == (answer.status == 401)
    assert not {"limit", "limit_of", "retry_after_s"} & document.keys()


def test_only_an_invalid_key_is_called_an_invalid_token():
    assert b"error=" not in told(Refusal("unknown", "key_missing"))[1][b"www-authenticate"]
    assert b'error="invalid_token"' in told(Refusal("unknown", "key_invalid"))[1][b"www-authenticate"]


def test_missing_key_is_asked_for_in_the_configured_header():
    missing = Refusal("unknown", "key_missing")
    assert "Authorization" in told(missing)[2]["detail"]
    assert told(missing, key_header="X-Shop-Key")[2]["message"] == "API key missing. Send your API key in 'X-Shop-Key'."


@pytest.mark.parametrize(("wait_s", "seconds"), [(0, 1), (0.2, 1), (1.2, 2), (60, 60), (60.5, 61), (90_000, 90_000)])
def test_wait_is_rounded_up_to_seconds_and_long_waits_forbid_retries(wait_s, seconds):
    _, headers, document = told(Refusal("limited", "rate_limited", retry_after_s=wait_s))
    assert (headers[b"retry-after"], document["retry_after_s"]) == (str(seconds).encode(), seconds)
    assert (b"x-should-retry" in headers) == (seconds > 60)


@pytest.mark.parametrize(("code", "whose"), [("quota_exhausted", "account"), ("budget_exhausted", "key")])
def test_limit_that_never_resets_has_no_wait_and_says_what_helps(code, whose):
    _, headers, document = told(Refusal("quota", code, "trial", whose=whose))
    assert headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in headers
    assert "retry_after_s" not in document
    assert document["detail"].startswith('This limit does not reset. The limit "trial" ')
    assert ("larger plan" in document["message"]) == (whose == "account")


def test_limit_of_zero_is_not_said_to_reset():
    _, headers, document = told(Refusal("quota", "quota_exhausted", "none", whose="key", is_zero=True))
    assert headers[b"x-should-retry"] == b"false"
    assert document["detail"].startswith("This limit is 0 and allows no calls. ")


@pytest.mark.parametrize("whose", ["account", "plan", "key"])
def test_limit_says_whose_it_is(whose):
    _, _, document = told(Refusal("limited", "rate_limited", 'the "fast" one', whose=whose))
    assert (document["limit"], document["limit_of"]) == ('the "fast" one', whose)
    assert "fast" in document["detail"]


def test_other_origins_may_read_it_and_limit_headers_stay():
    field = (b"ratelimit", b'"rpm";r=0;t=5')
    assert field in told(Refusal("limited", "rate_limited"), [field])[0].headers
    assert not set(problem.CORS) & set(told(Refusal("limited", "rate_limited"))[0].headers)
    assert set(problem.CORS) < set(told(Refusal("limited", "rate_limited"), is_cross_origin=True)[0].headers)
