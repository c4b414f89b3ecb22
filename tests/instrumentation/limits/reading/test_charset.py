import pytest

from keygauge.limits.reading import charset


@pytest.mark.parametrize("content_type", ["", "text/plain", "text/plain; charset=UTF-8", 'a/b; Charset="latin1"; c=d'])
def test_ascii_compatible_charsets_are_usual(content_type):
    assert charset.is_usual(content_type)


@pytest.mark.parametrize(
    "content_type", ["a/b; charset=utf-16", "a/b; charset=utf-8; charset=utf-7", "a/b; charset*=utf-8''cp037"]
)
def test_other_charsets_are_not_usual(content_type):
    assert not charset.is_usual(content_type)
