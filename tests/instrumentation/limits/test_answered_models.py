from keygauge.call import Call
from keygauge.limits import answered_models
from keygauge.limits.answered_models import AnsweredModels, requested_by
from keygauge.limits.reading.estimate import Estimate

MODEL = ("openai", "gpt-4o")
OTHER = (None, "own")


def test_answered_models_are_found_by_request():
    answered = AnsweredModels()
    assert answered.find("/chat") == ()
    for model in (MODEL, OTHER, MODEL):
        answered.learn("/chat", model)
    assert answered.find("/chat") == (OTHER, MODEL)
    assert answered.find(("alias",)) == ()


def test_memory_is_bounded_and_recently_used_entries_stay():
    answered = AnsweredModels()
    for number in range(answered_models._MOST_ASKED + 500):
        answered.learn((f"invented-{number}",), MODEL)
        answered.find(("invented-0",))
    assert answered.find(("invented-0",)) == (MODEL,)
    assert answered.find(("invented-1",)) == ()
    assert len(answered._answered) == answered_models._MOST_ASKED
    for number in range(40):
        answered.learn("/chat", (None, f"m{number}"))
    assert answered.find("/chat") == tuple((None, f"m{number}") for number in range(24, 40))


def test_a_call_requests_the_models_it_names_or_else_its_route():
    def asked(**terms):
        call = Call(method="POST", ip=None, time_ns=0, started_ns=0, template="/chat", estimate=Estimate(**terms))
        return requested_by(call)

    assert asked(named=("a", "b")) == ("a", "b")
    assert asked() == "/chat"
    assert asked(named=("a",), unread=True) == "/chat"
