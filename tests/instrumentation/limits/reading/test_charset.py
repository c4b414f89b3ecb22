import encodings
from encodings import aliases

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


def test_a_body_is_decoded_in_each_charset_that_is_known():
    assert charset.decode("é".encode("utf-16"), "a/b; charset=UTF-16") == ["é"]
    assert sorted(charset.decode(b"+AOk-", "a/b; charset=utf-7; charset=koi8-r")) == ["+AOk-", "é"]
    with pytest.raises(UnicodeDecodeError):
        charset.decode(b"odd", "a/b; charset=utf-16")


@pytest.mark.parametrize("name", ["utf8mb4", "x-unknown", "", "punycode", "idna", "hex", "zlib", "rot13"])
def test_an_unknown_charset_is_neither_decoded_nor_kept(name):
    """Python's registry would keep every name that it is asked for."""
    before = encodings._cache.keys() | aliases.aliases.values()
    assert charset.decode(b"{}", f"a/b; charset={name}") == []
    assert encodings._cache.keys() <= before
