import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from keygauge_keyservice import config, embedded
from keygauge_keyservice.config import Settings, SettingsError

URL = {"KEYGAUGE_DATABASE_URL": "postgresql://user:hush@db/keygauge"}
SECRETS = {
    "KEYGAUGE_ADMIN_TOKEN": "admin-token-of-this-test",
    "KEYGAUGE_SERVICE_TOKEN": "service-token-of-this-test",
    "KEYGAUGE_PEPPER": "1:" + "aa" * 32 + ",2:" + "bb" * 32,
}


def test_settings_come_from_the_environment():
    settings = Settings.from_environment(URL | SECRETS)
    assert settings.database_url == URL["KEYGAUGE_DATABASE_URL"]
    assert settings.admin_token == SECRETS["KEYGAUGE_ADMIN_TOKEN"]
    assert settings.service_token == SECRETS["KEYGAUGE_SERVICE_TOKEN"]
    assert settings.peppers.newest == 2
    assert not settings.admin_token_is_new


def test_repr_contains_no_secrets():
    text = repr(Settings.from_environment(URL | SECRETS))
    assert not any(secret in text for secret in ("hush", "admin-token", "service-token", "aa" * 8, "\\xaa"))


def test_missing_secrets_are_generated_once_in_files_that_only_the_owner_reads(tmp_path):
    environ = URL | {"KEYGAUGE_DATA_DIR": str(tmp_path / "new" / "data")}
    first, second = Settings.from_environment(environ), Settings.from_environment(environ)
    assert first.admin_token_is_new
    assert not second.admin_token_is_new
    assert first.admin_token == second.admin_token != first.service_token == second.service_token
    assert first.peppers == second.peppers
    files = list((tmp_path / "new" / "data").iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_concurrent_starts_share_generated_secrets(tmp_path):
    environ = URL | {"KEYGAUGE_DATA_DIR": str(tmp_path)}
    with ThreadPoolExecutor(4) as threads:
        children = list(threads.map(lambda _: Settings.from_environment(environ), range(8)))
    assert len({child.admin_token for child in children}) == 1
    assert sum(child.admin_token_is_new for child in children) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYGAUGE_ADMIN_TOKEN", "short"),
        ("KEYGAUGE_ADMIN_TOKEN", "with a space in the token"),
        ("KEYGAUGE_SERVICE_TOKEN", "ünïcödé-token-of-this-test"),
        ("KEYGAUGE_PEPPER", "secret"),
        ("KEYGAUGE_PEPPER", "1:zz"),
        ("KEYGAUGE_PEPPER", "1:aabb"),
        ("KEYGAUGE_PEPPER", "0:" + "aa" * 32),
        ("KEYGAUGE_PEPPER", ",".join(["1:" + "aa" * 32] * 2)),
    ],
)
def test_error_names_an_invalid_setting_without_its_value(name, value):
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_environment(URL | SECRETS | {name: value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["KEYGAUGE_ADMIN_TOKEN", "KEYGAUGE_SERVICE_TOKEN", "KEYGAUGE_PEPPER"])
def test_empty_settings_count_as_missing(tmp_path, name):
    Settings.from_environment(URL | SECRETS | {name: "", "KEYGAUGE_DATA_DIR": str(tmp_path)})
    assert [file.name for file in tmp_path.iterdir()] == [name.removeprefix("KEYGAUGE_").lower()]


def test_embedded_database_starts_if_no_url_is_set():
    with tempfile.TemporaryDirectory(prefix="keygauge-test-") as directory:
        environ = {"KEYGAUGE_DATA_DIR": directory}
        url = config.database_url(environ)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert config.database_url(environ) == url
        embedded.start(Path(directory) / "postgresql").cleanup()


OIDC = {"KEYGAUGE_OIDC_ISSUER": "https://id.example.com", "KEYGAUGE_OIDC_CLIENT_ID": "keygauge"}


def test_oidc_provider_is_optional():
    assert Settings.from_environment(URL | SECRETS).oidc is None
    provider = Settings.from_environment(URL | SECRETS | OIDC | {"KEYGAUGE_OIDC_CLIENT_SECRET": "hush"}).oidc
    assert (provider.issuer, provider.client_id, provider.client_secret) == (*OIDC.values(), "hush")
    assert "hush" not in repr(provider)


@pytest.mark.parametrize(
    "wrong",
    [
        {"KEYGAUGE_OIDC_ISSUER": ""},
        {"KEYGAUGE_OIDC_CLIENT_ID": ""},
        {"KEYGAUGE_OIDC_ISSUER": "id.example.com"},
        {"KEYGAUGE_OIDC_ISSUER": "http://id.example.com"},
        {"KEYGAUGE_OIDC_ISSUER": "javascript:alert(1)"},
    ],
)
def test_invalid_oidc_provider_is_rejected(wrong):
    with pytest.raises(SettingsError, match="KEYGAUGE_OIDC_ISSUER"):
        Settings.from_environment(URL | SECRETS | OIDC | wrong)


@pytest.mark.parametrize(
    "url", ["mysql://user:hush@db/keygauge", "db.example:5432/hush", "postgresql://db:hush/x", "postgresql://[hush/x"]
)
def test_error_for_an_invalid_database_url_has_no_password(url):
    with pytest.raises(SettingsError, match="KEYGAUGE_DATABASE_URL: must look like postgresql://") as caught:
        config.database_url({"KEYGAUGE_DATABASE_URL": url})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgres://db/keygauge", "postgresql://a:1,b:2/keygauge", "host=db dbname=keygauge"])
def test_every_form_of_database_address_is_accepted(url):
    assert config.database_url({"KEYGAUGE_DATABASE_URL": url}) == url


@pytest.mark.parametrize("url", ["api.acme.com", "ftp://api.acme.com/", "https://", "https://api.acme.com/; rm x"])
def test_api_url_must_be_usable_in_a_curl_command(url):
    with pytest.raises(SettingsError, match="KEYGAUGE_API_URL: must be"):
        Settings.from_environment(URL | SECRETS | {"KEYGAUGE_API_URL": url})


@pytest.mark.parametrize("url", ["mailto:help@acme.com", "https://acme.com/help"])
def test_the_contact_address_is_a_page_or_an_e_mail_address(url):
    assert Settings.from_environment(URL | SECRETS | {"KEYGAUGE_CONTACT_URL": url}).contact_url == url


def test_whether_there_is_a_mail_server_is_known():
    assert not Settings.from_environment(URL | SECRETS).has_mail_server
    assert Settings.from_environment(URL | SECRETS | {"KEYGAUGE_SMTP_URL": "smtp://mail.acme.com"}).has_mail_server


@pytest.mark.parametrize("url", ["help@acme.com", "javascript:alert(1)", "mailto:a@b.c?cc=x", 'https://a"b'])
def test_another_contact_address_is_refused(url):
    with pytest.raises(SettingsError, match="KEYGAUGE_CONTACT_URL: must be"):
        Settings.from_environment(URL | SECRETS | {"KEYGAUGE_CONTACT_URL": url})


def test_the_maximum_of_keys_of_an_account_is_a_number():
    assert Settings.from_environment(URL | SECRETS).account_keys_max == 100_000
    assert config.account_keys_max({"KEYGAUGE_ACCOUNT_KEYS_MAX": "250000"}) == 250_000
    for wrong in ("0", "-1", "1e5", "many", "10000001", "9" * 20, "\u0663"):
        with pytest.raises(SettingsError, match="KEYGAUGE_ACCOUNT_KEYS_MAX: must be 1 to 10000000 keys"):
            config.account_keys_max({"KEYGAUGE_ACCOUNT_KEYS_MAX": wrong})
