import json
from dataclasses import replace

import pytest

from keygauge.http import problem
from keygauge.limits import refusal
from keygauge.limits.refusal import Refusal

ALL = {name: value for name, value in vars(refusal).items() if isinstance(value, Refusal)}


@pytest.mark.parametrize("name", ALL)
def test_every_refusal_has_an_error_response(name):
    answer = problem.answer(ALL[name], [])
    assert 400 <= answer.status < 600
    assert (b"retry-after" in dict(answer.headers)) == (ALL[name].retry_after_s is not None)


def test_a_replaced_secret_says_since_when_and_what_helps():
    told = json.loads(problem.answer(replace(refusal.REPLACED, since_s=1_800_000_000), []).body)
    assert told["code"] == "key_replaced"
    assert told["detail"] == ("The key was rotated, and this secret ended on 2027-01-15 at 08:00 UTC. Use the new one.")
