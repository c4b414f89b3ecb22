from gettext import NullTranslations

from keygauge_keyservice import texts
from keygauge_keyservice.texts import each, gettext, mark, ngettext


class Shouted(NullTranslations):
    def gettext(self, message):
        return message.upper().replace("%(NAME)S", "%(name)s")


def test_english_message_is_the_text_itself():
    assert gettext("100% of it") == "100% of it"
    assert gettext("key %(name)s", name="a") == "key a"
    assert (ngettext("%(num)s key", "%(num)s keys", 1), ngettext("%(num)s key", "%(num)s keys", 2)) == (
        "1 key",
        "2 keys",
    )
    assert ngettext("%(number)s key", "%(number)s keys", 2000, number="2,000") == "2,000 keys"


def test_chosen_language_applies_until_another_is_chosen():
    texts.choose(Shouted())
    try:
        assert gettext("key %(name)s", name="a") == "KEY a"
        assert each({"one": mark("first")}) == {"one": "FIRST"}
    finally:
        texts.choose(texts.ENGLISH)
    assert gettext("first") == "first"
