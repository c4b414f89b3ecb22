import pytest

from keygauge.limits.reading import charset


@pytest.mark.parametrize("content_type", ["", "text/plain", "text/plain; charset=UTF-8", 'a/b; Charset="latin1"; c=d'])
def test_what_reads_as_ascii_is_usual(content_type):
    assert charset.is_usual(content_type)


@pytest.mark.parametrize(
    "content_type", ["a/b; charset=utf-16", "a/b; charset=utf-8; charset=utf-7", "a/b; charset*=utf-8''cp037"]
)
def test_any_other_is_not(content_type):
    assert not charset.is_usual(content_type)
