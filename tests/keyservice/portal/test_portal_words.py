"""The portal's texts contain no retired phrases."""

import re
from pathlib import Path

import pytest

import keygauge_keyservice.portal

SOURCES = Path(keygauge_keyservice.portal.__file__).parent
RETIRED = (
    *("starts anew", "so far", "as they come", "look at its pages", "leave it", "keeps to these", "keep limits"),
    *("keep changes", "keep note", "may be used for", "begin so", "one a line", "told by", "nobody", "in all", "took<"),
    *("calls before", "limit hits", "refused or wrong", "make a link", "lets you in", "sessions of yours", "come in"),
    *("tried only", "like that", "like these", "that did not", "too much", "suspend it", "active again", "anew"),
    *("no such", "is no ", "at the moment of", "a minute", "a day", "a month", "own limits", "nothing was changed"),
)


def texts():
    """Yield (file name, text) of templates without tags, and of modules' strings that contain a space."""
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix == ".html":
            bare = re.sub(r"{#.*?#}|{%.*?%}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            yield path.name, bare
        elif path.suffix == ".py":
            source = re.sub(r'""".*?"""|#[^\n]*', " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            yield path.name, "\n".join(re.findall(r'"([^"\n]* [^"\n]*)"', source))


@pytest.mark.parametrize("phrase", RETIRED)
def test_retired_phrase_is_not_used(phrase):
    found = [name for name, text in texts() if re.search(rf"\b{re.escape(phrase)}", text.lower())]
    assert found == []
