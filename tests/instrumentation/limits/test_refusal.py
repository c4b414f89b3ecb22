import pytest

from keygauge.http import problem
from keygauge.limits import refusal
from keygauge.limits.refusal import Refusal

ALL = {name: value for name, value in vars(refusal).items() if isinstance(value, Refusal)}


@pytest.mark.parametrize("name", ALL)
def test_every_refusal_is_an_error_that_callers_are_told_of(name):
    answer = problem.answer(ALL[name], [])
    assert 400 <= answer.status < 600
    assert (b"retry-after" in dict(answer.headers)) == (ALL[name].retry_after_s is not None)


def test_a_replaced_secret_is_told_as_one_that_never_was():
    assert refusal.REPLACED.code == refusal.UNKNOWN.code
