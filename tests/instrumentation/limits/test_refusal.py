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


def test_a_replaced_secret_looks_like_one_that_never_existed():
    assert refusal.REPLACED.code == refusal.UNKNOWN.code
