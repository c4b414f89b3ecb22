"""What the environment and the keywords may say."""

from pathlib import Path

import pytest

from keygauge.settings.settings import Settings, SettingsError

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


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTP://LocalHost:8080/", "http://127.0.0.1:8080"),
        ("https://Keys.example", "https://keys.example:443"),
        ("http://keys.example/gauge/", "http://keys.example:80/gauge"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_key_service_has_one_address_however_it_is_written(url, address):
    assert Settings(**{**GOOD, "service_url": url}).service_address == address


def test_token_is_not_shown():
    assert "sesame" not in repr(Settings(**{**GOOD, "service_token": "sesame"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "guard"}, "KEYGAUGE_MODE is 'guard'"),
        ({"service_url": None}, "KEYGAUGE_SERVICE_URL is not set"),
        ({"service_url": "keys:8080"}, "must start with http"),
        ({"service_token": None}, "KEYGAUGE_SERVICE_TOKEN is not set"),
        ({"wait_s": 0}, "KEYGAUGE_WAIT_S is 0"),
        ({"wait_s": 11}, "KEYGAUGE_WAIT_S is 11"),
        ({"service_url": "http://127.0.0.1:abc"}, "KEYGAUGE_SERVICE_URL is 'http://127.0.0.1:abc'"),
        ({"service_url": "http://127.0.0.1:65536"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_url": "http://127.0.0.1:0"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_url": "http://[::1"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_url": "http://:8080"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_url": "http://key service:8080"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_url": "http://schlüssel:8080"}, "KEYGAUGE_SERVICE_URL is"),
        ({"service_token": "se same"}, "KEYGAUGE_SERVICE_TOKEN contains"),
        ({"service_token": "sesame\n"}, "KEYGAUGE_SERVICE_TOKEN contains"),
        ({"service_token": "sésame"}, "KEYGAUGE_SERVICE_TOKEN contains"),
        ({"spool_bytes": -5}, "KEYGAUGE_SPOOL_BYTES is -5"),
        ({"spool_bytes": 65_535}, "KEYGAUGE_SPOOL_BYTES is 65535"),
        ({"spool_bytes": 1e9}, "KEYGAUGE_SPOOL_BYTES is"),
    ],
)
def test_wrong_setting_is_named(change, message):
    with pytest.raises(SettingsError, match=message):
        Settings(**{**GOOD, **change})


def test_number_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_WAIT_S", "soon")
    with pytest.raises(SettingsError, match="KEYGAUGE_WAIT_S is 'soon'"):
        Settings.from_environment(**GOOD)


@pytest.mark.parametrize("token", ["sesame\n", "sesame open"])
def test_wrong_token_is_not_told(token):
    with pytest.raises(SettingsError) as caught:
        Settings(**{**GOOD, "service_token": token})
    assert "sesame" not in str(caught.value)


def test_password_in_the_address_is_not_told():
    with pytest.raises(SettingsError, match="KEYGAUGE_SERVICE_URL contains a user name") as caught:
        Settings(**{**GOOD, "service_url": "http://me:sesame@keys:8080"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-5", "1.5", "many", "9" * 30])
def test_spool_bound_that_is_no_whole_number_is_named(monkeypatch, text):
    monkeypatch.setenv("KEYGAUGE_SPOOL_BYTES", text)
    with pytest.raises(SettingsError, match="KEYGAUGE_SPOOL_BYTES is"):
        Settings.from_environment(**GOOD)


def test_spool_bound_is_read(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_SPOOL_BYTES", "65536")
    assert Settings.from_environment(**GOOD).spool_bytes == 65_536


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("0", False), ("", None)])
def test_a_switch_is_read(monkeypatch, text, is_on):
    monkeypatch.setenv("KEYGAUGE_ESTIMATE_USAGE", text)
    assert Settings.from_environment(**GOOD).estimate_usage is is_on


def test_providers_are_read_by_path(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", "/v1/chat/*=deepseek, /a=b=vllm,")
    assert Settings.from_environment(**GOOD).providers == (("/v1/chat/*", "deepseek"), ("/a=b", "vllm"))


@pytest.mark.parametrize("text", ["deepseek", "chat=deepseek", "/v1=", "/v1"])
def test_a_rule_that_is_none_is_told(monkeypatch, text):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", f"/good=openai,{text}")
    with pytest.raises(SettingsError, match=f"'{text}': use PATH=PROVIDER"):
        Settings.from_environment(**GOOD)


@pytest.mark.parametrize("name", ["KEYGAUGE_ESTIMATE_USAGE", "KEYGAUGE_PROMETHEUS", "KEYGAUGE_LOG_FIELDS"])
def test_a_switch_that_is_neither_on_nor_off_is_named(monkeypatch, name):
    monkeypatch.setenv(name, "true")
    with pytest.raises(SettingsError, match=f"{name} is 'true': use 1, or 0"):
        Settings.from_environment(**GOOD)


def test_an_open_path_that_no_call_can_have_is_named():
    with pytest.raises(SettingsError, match="KEYGAUGE_OPEN_PATHS has 'docs': paths start with /"):
        Settings(**{**GOOD, "open_paths": ("/healthz", "docs")})


def test_a_text_in_place_of_a_list_opens_no_path():
    with pytest.raises(SettingsError, match="KEYGAUGE_OPEN_PATHS has 'd'"):
        Settings(**{**GOOD, "open_paths": tuple("/docs*")})


def test_a_header_that_no_call_can_have_is_named(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_CREDENTIAL_HEADER", "X-KeyGauge-Key")
    assert Settings.from_environment(**GOOD).credential_header == "X-KeyGauge-Key"
    monkeypatch.setenv("KEYGAUGE_CREDENTIAL_HEADER", "X-Key: ")
    with pytest.raises(SettingsError, match="KEYGAUGE_CREDENTIAL_HEADER"):
        Settings.from_environment(**GOOD)


@pytest.mark.parametrize(
    ("name", "attributes", "told"),
    [
        (None, None, "unknown_service"),
        (None, "deployment.environment.name=prod, service.name = the%20shop", "the shop"),
        ("shop", "service.name=other", "shop"),
        (None, "service.name,=,", "unknown_service"),
    ],
)
def test_service_is_named_in_the_ledger_as_in_the_metrics(monkeypatch, name, attributes, told):
    for variable, value in (("OTEL_SERVICE_NAME", name), ("OTEL_RESOURCE_ATTRIBUTES", attributes)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert Settings.from_environment(mode="observe").service_name == told
