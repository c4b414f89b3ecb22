"""What the environment and the keywords may say."""

from pathlib import Path

import pytest

from keygauge.settings import Settings, SettingsError

GOOD = {"service_url": "http://127.0.0.1:8080", "service_token": "t", "spool_dir": Path("spool")}


def test_environment_is_read_and_keywords_win(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", "http://keys:8080")
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", "secret")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", "/var/spool/keygauge")
    monkeypatch.setenv("KEYGAUGE_OPEN_PATHS", "/healthz, /docs*")
    settings = Settings.from_environment(service_url="http://other:1", mode=None)
    assert settings.service_url == "http://other:1"
    assert settings.mode == "enforce"
    assert settings.spool_dir == Path("/var/spool/keygauge")
    assert settings.open_paths == ("/healthz", "/docs*")


def test_token_is_not_shown():
    assert "sesame" not in repr(Settings(**{**GOOD, "service_token": "sesame"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "guard"}, "KEYGAUGE_MODE is 'guard'"),
        ({"service_url": None}, "KEYGAUGE_SERVICE_URL is not set"),
        ({"service_url": "keys:8080"}, "begins with http"),
        ({"service_token": None}, "KEYGAUGE_SERVICE_TOKEN is not set"),
        ({"wait_s": 0}, "KEYGAUGE_WAIT_S is 0"),
        ({"wait_s": 11}, "KEYGAUGE_WAIT_S is 11"),
    ],
)
def test_wrong_setting_is_named(change, message):
    with pytest.raises(SettingsError, match=message):
        Settings(**{**GOOD, **change})


def test_number_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_WAIT_S", "soon")
    with pytest.raises(SettingsError, match="KEYGAUGE_WAIT_S is 'soon'"):
        Settings.from_environment(**GOOD)
