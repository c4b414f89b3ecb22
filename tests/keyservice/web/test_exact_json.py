import json

from flask import Flask

from keygauge_keyservice.web.exact_json import EXACT_MAX, exact_json


def test_integers_that_a_browser_would_round_are_strings():
    document = {"exact": EXACT_MAX, "parts": [{"nanousd": -EXACT_MAX - 1}, (EXACT_MAX + 1, True, 0.5, None, "9")]}
    with Flask("test").app_context():
        assert json.loads(exact_json(document).get_data()) == {
            "exact": EXACT_MAX,
            "parts": [{"nanousd": "-9007199254740992"}, ["9007199254740992", True, 0.5, None, "9"]],
        }
