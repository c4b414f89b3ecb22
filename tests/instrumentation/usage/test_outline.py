"""The member names that are used, in all documents and in large ones."""

from keygauge.usage.outline import LISTS, NAMES, PARENTS, Outline
from keygauge.usage.providers import BY_MEMBER


def test_names_kept_of_large_documents_include_all_that_are_read():
    assert {name.encode() for name in Outline.__annotations__} <= NAMES
    assert PARENTS | LISTS <= NAMES


def test_members_that_choose_a_reader_are_parsed():
    assert set(BY_MEMBER) - set(Outline.__annotations__) == set()
