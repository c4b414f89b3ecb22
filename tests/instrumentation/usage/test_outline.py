"""The names that are looked at, in all documents and in large ones."""

from keygauge.usage.outline import LISTS, NAMES, PARENTS, Outline


def test_what_is_kept_of_a_large_document_has_all_that_is_read_of_any():
    assert {name.encode() for name in Outline.__annotations__} <= NAMES
    assert PARENTS | LISTS <= NAMES
