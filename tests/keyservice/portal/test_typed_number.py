from decimal import Decimal

import pytest

from keygauge_keyservice.portal import typed_number

SAME_EVERYWHERE = [
    ("25", "25"),
    ("$2.50", "2.50"),
    ("0.075", "0.075"),
    ("12.5 $", "12.5"),
    ("-1", "-1"),
    ("NaN", "NaN"),
    ("1e5", "1e5"),
    ("", ""),
]


@pytest.fixture
def reading(app):
    """`reading(language)` starts a request of a browser with this language."""
    contexts = []

    def reading(language):
        contexts.append(app.test_request_context(headers={"Accept-Language": language}))
        contexts[-1].push()

    yield reading
    for context in reversed(contexts):
        context.pop()


@pytest.mark.parametrize(("typed", "number"), SAME_EVERYWHERE)
@pytest.mark.parametrize("language", ["en", "de", "fr", "ja"])
def test_numbers_that_can_not_be_misread(reading, language, typed, number):
    reading(language)
    assert typed_number.plain(typed) == number


@pytest.mark.parametrize(
    ("language", "typed", "number"),
    [
        ("de", "1.500", "1500"),
        ("de", "1.500,25 $", "1500.25"),
        ("de", "2,50", "2.50"),
        ("fr", "1 500,5", "1500.5"),
        ("en", "1.500", "1.500"),
        ("en", "1,500", "1,500"),
        ("en", "2,50", "2,50"),
    ],
)
def test_separators_are_those_of_the_reader(reading, language, typed, number):
    reading(language)
    assert typed_number.plain(typed) == number


@pytest.mark.parametrize("language", ["en", "de", "fr", "pt-BR", "ja"])
@pytest.mark.parametrize("number", ["0.075", "1500.25", "1500", "1.5"])
def test_written_number_is_read_back(reading, language, number):
    reading(language)
    assert typed_number.plain(typed_number.write(Decimal(number))) == number
