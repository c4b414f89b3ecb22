from hypothesis import given
from hypothesis import strategies as st

from keygauge.text import LENGTH_MAX, printable


@given(st.text(max_size=400))
def test_cleaned_text_is_printable_and_bounded(text):
    kept = printable(text)
    assert kept.isprintable()
    assert len(kept) == min(len(text), LENGTH_MAX)
    assert printable(kept) == kept


def test_only_unprintable_characters_are_replaced():
    assert printable("gpt-4o\n\x00é…\ud800") == "gpt-4o??é…?"
