import pytest

from keygauge import call as call_module
from keygauge.call import CURRENT, Call, current
from keygauge.usage import Usage
from keygauge.usage.counts import MAX_TOKENS


def make(**parts):
    return Call(**{"method": "POST", "ip": None, "time_ns": 0, "started_ns": 0} | parts)


@pytest.fixture
def complaints(caplog):
    call_module._warn_about_late_usage.cache_clear()
    yield caplog
    call_module._warn_about_late_usage.cache_clear()


def test_recorded_usage_adds_up_and_names_stay():
    call = make()
    call.record_usage(input_tokens=3, images=1, model="dall-e-3", provider="openai")
    call.record_usage(output_tokens=4, images=2)
    assert call.usage == Usage(3, 4, details={"images": 3})
    assert (call.usage_status, call.model, call.provider) == ("reported", "dall-e-3", "openai")


def test_sum_stays_within_what_the_ledger_accepts():
    call = make()
    for _ in range(2):
        call.record_usage(input_tokens=MAX_TOKENS)
    assert call.usage.input_tokens == MAX_TOKENS


@pytest.mark.parametrize("count", [-1, 1.0, "1", True, MAX_TOKENS + 1])
def test_invalid_count_raises_and_changes_nothing(count):
    call = make()
    for name in ("input_tokens", "reasoning_tokens", "seconds"):
        with pytest.raises(ValueError, match=name):
            call.record_usage(model="m", **{name: count})
    assert (call.usage, call.usage_status, call.model) == (None, "none", None)


def test_unknown_kind_raises_unless_its_count_is_none():
    with pytest.raises(TypeError, match="imagse"):
        make().record_usage(imagse=1)
    make().record_usage(imagse=None)


def test_late_usage_is_logged_once_and_not_counted(complaints):
    call = make(ended_ns=1)
    for _ in range(3):
        call.record_usage(input_tokens=1)
    assert call.usage is None
    assert len(complaints.messages) == 1
    held = make(ended_ns=1)
    held.hold()
    held.record_usage(input_tokens=1)
    assert held.usage == Usage(1)


def test_current_call_is_that_of_the_context_or_else_a_dummy():
    assert current() is not current()
    call = make()
    token = CURRENT.set(call)
    try:
        assert current() is call
        call.ended_ns = 1
        assert current() is call
    finally:
        CURRENT.reset(token)
    current().record_usage(input_tokens=1)
    assert current().usage is None
