from pathlib import Path

import pytest

from keygauge_demo.remote import Settings
from keygauge_demo.settings import DemoError

STACK = {
    "KEYGAUGE_SERVICE_URL": "http://keys.example/",
    "DEMO_API_URL": "http://api.example",
    "KEYGAUGE_ADMIN_TOKEN": "hush-hush",
}


def test_settings_are_read_from_the_environment():
    settings = Settings.from_environment(STACK | {"DEMO_STATE": "/x", "DEMO_SECONDS": "3"})
    assert (settings.service_url, settings.api_url) == ("http://keys.example", "http://api.example")
    assert (settings.state, settings.seconds, settings.database_url) == (Path("/x"), 3, None)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("name", STACK)
def test_missing_settings_are_named(name):
    with pytest.raises(DemoError, match=f"{name} is not set"):
        Settings.from_environment(STACK | {name: ""})
