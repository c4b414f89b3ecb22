from keygauge.kinds import PART_OF
from keygauge_keyservice.usage import kind_titles


def test_every_known_kind_has_a_title():
    assert kind_titles.TITLES.keys() == PART_OF.keys()
    assert kind_titles.titled({"newer": 1, "images": 2}) == [("images", "Images", 2), ("newer", "newer", 1)]
