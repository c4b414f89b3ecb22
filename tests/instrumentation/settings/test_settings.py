"""Settings from the environment and from keyword arguments."""

from pathlib import Path

import pytest

from keygauge.settings.settings import Settings, SettingsError

GOOD = {"service_url": "http://127.0.0.1:8080", "service_token": "t", "spool_dir": Path("spool")}


def test_keyword_arguments_override_the_environment(monkeypatch):
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
def test_service_address_is_canonical(url, address):
    assert Settings(**{**GOOD, "service_url": url}).service_address == address


def test_repr_hides_the_token():
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
def test_invalid_setting_is_named_in_the_error(change, message):
    with pytest.raises(SettingsError, match=message):
        Settings(**{**GOOD, **change})


def test_invalid_number_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_WAIT_S", "soon")
    with pytest.raises(SettingsError, match="KEYGAUGE_WAIT_S is 'soon'"):
        Settings.from_environment(**GOOD)


@pytest.mark.parametrize("token", ["sesame\n", "sesame open"])
def test_invalid_token_is_not_in_the_error(token):
    with pytest.raises(SettingsError) as caught:
        Settings(**{**GOOD, "service_token": token})
    assert "sesame" not in str(caught.value)


def test_password_in_the_address_is_not_in_the_error():
    with pytest.raises(SettingsError, match="KEYGAUGE_SERVICE_URL contains a user name") as caught:
        Settings(**{**GOOD, "service_url": "http://me:sesame@keys:8080"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-5", "1.5", "many", "9" * 30])
def test_invalid_spool_bytes_is_named_in_the_error(monkeypatch, text):
    monkeypatch.setenv("KEYGAUGE_SPOOL_BYTES", text)
    with pytest.raises(SettingsError, match="KEYGAUGE_SPOOL_BYTES is"):
        Settings.from_environment(**GOOD)


def test_spool_bytes_is_read(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_SPOOL_BYTES", "65536")
    assert Settings.from_environment(**GOOD).spool_bytes == 65_536


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("0", False), ("", None)])
def test_switch_is_read(monkeypatch, text, is_on):
    monkeypatch.setenv("KEYGAUGE_ESTIMATE_USAGE", text)
    assert Settings.from_environment(**GOOD).estimate_usage is is_on


def test_providers_are_read_by_path(monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", "/v1/chat/*=deepseek, /a=b=vllm,")
    assert Settings.from_environment(**GOOD).providers == (("/v1/chat/*", "deepseek"), ("/a=b", "vllm"))


@pytest.mark.parametrize("text", ["deepseek", "chat=deepseek", "/v1=", "/v1"])
def test_invalid_provider_rule_is_named_in_the_error(monkeypatch, text):
    monkeypatch.setenv("KEYGAUGE_PROVIDERS", f"/good=openai,{text}")
    with pytest.raises(SettingsError, match=f"'{text}': use PATH=PROVIDER"):
        Settings.from_environment(**GOOD)


@pytest.mark.parametrize("name", ["KEYGAUGE_ESTIMATE_USAGE", "KEYGAUGE_PROMETHEUS", "KEYGAUGE_LOG_FIELDS"])
def test_invalid_switch_is_named_in_the_error(monkeypatch, name):
    monkeypatch.setenv(name, "true")
    with pytest.raises(SettingsError, match=f"{name} is 'true': use 1, or 0"):
        Settings.from_environment(**GOOD)


def test_invalid_open_path_is_named_in_the_error():
    with pytest.raises(SettingsError, match="KEYGAUGE_OPEN_PATHS has 'docs': paths start with /"):
        Settings(**{**GOOD, "open_paths": ("/healthz", "docs")})


def test_string_instead_of_a_list_of_open_paths_is_rejected():
    with pytest.raises(SettingsError, match="KEYGAUGE_OPEN_PATHS has 'd'"):
        Settings(**{**GOOD, "open_paths": tuple("/docs*")})


def test_invalid_credential_header_is_named_in_the_error(monkeypatch):
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
def test_service_name_is_the_same_as_in_the_metrics(monkeypatch, name, attributes, told):
    for variable, value in (("OTEL_SERVICE_NAME", name), ("OTEL_RESOURCE_ATTRIBUTES", attributes)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert Settings.from_environment(mode="observe").service_name == told
