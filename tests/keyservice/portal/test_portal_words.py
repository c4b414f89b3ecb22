"""Pages speak as other products do: usual words in their usual order."""

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
    """Return what people may read: templates without their tags, and the strings of modules that hold sentences."""
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix == ".html":
            bare = re.sub(r"{#.*?#}|{%.*?%}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            yield path.name, bare
        elif path.suffix == ".py":
            source = re.sub(r'""".*?"""|#[^\n]*', " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            yield path.name, "\n".join(re.findall(r'"([^"\n]* [^"\n]*)"', source))


@pytest.mark.parametrize("phrase", RETIRED)
def test_phrase_is_in_no_text(phrase):
    found = [name for name, text in texts() if re.search(rf"\b{re.escape(phrase)}", text.lower())]
    assert found == []
