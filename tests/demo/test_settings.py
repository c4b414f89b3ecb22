"""The demo's settings come from DEMO_*; errors name the invalid setting and how to fix it."""

from pathlib import Path

import pytest

from keygauge_demo.settings import DemoError, Settings


def test_defaults():
    settings = Settings.from_environment({})
    assert (settings.portal_url, settings.api_url) == ("http://127.0.0.1:8080", "http://127.0.0.1:8000")
    assert settings.state == Path(".demo").absolute()
    assert settings.seconds is None


def test_environment_is_read():
    environ = {"DEMO_PORT_PORTAL": "1234", "DEMO_PORT_API": "1235", "DEMO_STATE": "/x", "DEMO_SECONDS": "2.5"}
    assert Settings.from_environment(environ) == Settings(1234, 1235, Path("/x"), 2.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEMO_PORT_API", "http"),
        ("DEMO_PORT_API", "0"),
        ("DEMO_PORT_PORTAL", "65536"),
        ("DEMO_PORT_PORTAL", "-1"),
        ("DEMO_SECONDS", "soon"),
        ("DEMO_SECONDS", "0"),
        ("DEMO_SECONDS", "inf"),
        ("DEMO_SECONDS", "nan"),
    ],
)
def test_invalid_setting_is_named(name, value):
    with pytest.raises(DemoError, match=f"{name} is '{value}': use"):
        Settings.from_environment({name: value})


def test_the_same_port_for_both_is_refused():
    with pytest.raises(DemoError, match="cannot share port 8080"):
        Settings.from_environment({"DEMO_PORT_API": "8080"})
