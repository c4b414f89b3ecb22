import re
from pathlib import Path

from keygauge.settings.setting_names import NAMES, find_misspelled

ROOT = Path(__file__).parents[3]
OTHERS = {  # of the commands, and of the key service in messages
    *("KEYGAUGE_COMPLETE", "KEYGAUGE_DATABASE_URL", "KEYGAUGE_DATA_DIR", "KEYGAUGE_TOKEN", "KEYGAUGE_URL"),
}


def names_in(folder):
    texts = (file.read_text() for file in (ROOT / folder).rglob("*.py"))
    return {name for text in texts for name in re.findall(r"\bKEYGAUGE_[A-Z]+(?:_[A-Z]+)*\b", text)}


def test_all_settings_are_known():
    assert names_in("instrumentation/src") - OTHERS == NAMES


def test_misspelled_settings_are_found():
    given = [
        "KEYGAUGE_IMPORTED_KEY",
        "KEYGAUGE_OPEN_PATH",
        "KEYGAUGE_TRUSTED_PROXY",
        "KEYGAUGE_MODE",
        "KEYGAUGE_X",
        "HOME",
    ]
    assert list(find_misspelled(given)) == [
        ("KEYGAUGE_IMPORTED_KEY", "KEYGAUGE_IMPORTED_KEYS"),
        ("KEYGAUGE_OPEN_PATH", "KEYGAUGE_OPEN_PATHS"),
        ("KEYGAUGE_TRUSTED_PROXY", "KEYGAUGE_TRUSTED_PROXIES"),
    ]


def test_settings_of_the_key_service_are_no_misspellings():
    assert list(find_misspelled(names_in("keyservice/src"))) == []
