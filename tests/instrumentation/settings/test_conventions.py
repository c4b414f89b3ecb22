import pytest

from keygauge.settings import conventions
from keygauge.settings.conventions import GEN_AI, LATEST


@pytest.fixture
def chosen(monkeypatch):
    def chosen(own=None, opt_in=None):
        for name, value in (("KEYGAUGE_SEMCONV", own), ("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        conventions.chosen.cache_clear()
        return conventions.chosen()

    yield chosen
    conventions.chosen.cache_clear()


def test_nothing_is_selected_by_default(chosen):
    assert chosen() == chosen(own="") == chosen(own=" , ") == chosen(own="none") == frozenset()


def test_keygauge_variable_takes_precedence(chosen):
    assert chosen(own=f" {GEN_AI.upper()} , {LATEST}") == {GEN_AI, LATEST}
    assert chosen(own="none", opt_in="gen_ai") == frozenset()


def test_other_conventions_in_opentelemetrys_variable_are_ignored(chosen):
    assert chosen(opt_in="http, gen_ai_latest_experimental,database/dup") == {LATEST}
    assert chosen(opt_in="gen_ai/dup") == {GEN_AI, LATEST}
    assert chosen(opt_in="http") == frozenset()


def test_unknown_profile_is_named_in_the_error(chosen):
    with pytest.raises(conventions.ProfileError, match="gen_ay"):
        chosen(own="gen_ai,gen_ay")
