"""Encrypted connections: the modes of `sslmode`, an authority of one's own, and certificates instead of passwords."""

import os
import shutil

import psycopg
import pytest
from click.testing import CliRunner
from operate.certificates import Authority
from polling import until

from keygauge_keyservice import database
from keygauge_keyservice.commands.migrate import migrate


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "authority")


@pytest.fixture
def cluster(cluster, authority):
    """The cluster accepts encrypted connections only, and `signed` only with a certificate."""
    for source, name in zip(authority.issue("server", address="127.0.0.1"), ("server.crt", "server.key"), strict=True):
        copied = shutil.copy2(source, cluster.data / name)
        if os.geteuid() == 0:
            shutil.chown(copied, "postgres")
    shutil.copy(authority.file, cluster.data / "root.crt")
    (cluster.data / "root.crt").chmod(0o644)
    cluster.execute("CREATE ROLE signed LOGIN SUPERUSER")
    cluster.execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
    cluster.execute("ALTER SYSTEM SET ssl = on")
    rules = "hostssl all signed 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 trust\n"
    (cluster.data / "pg_hba.conf").write_text(rules)
    cluster.execute("SELECT pg_reload_conf()")
    until(lambda: refusal(f"{cluster.url()}?sslmode=disable"))
    return cluster


def refusal(url):
    """Return why a connection is refused, if it is."""
    try:
        database.connect(url).close()
    except psycopg.OperationalError as error:
        return str(error)
    return None


def is_encrypted(connection):
    row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    return row["ssl"]


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_everything_works_over_an_encrypted_connection(cluster, authority, install, mode):
    installation = install(f"{cluster.url()}?sslmode={mode}&sslrootcert={authority.file}")
    _, token = installation.key(installation.account())
    assert installation.call(token) == 200
    until(lambda: installation.events() == 1)
    with installation.connect() as connection:
        assert is_encrypted(connection)


def test_a_server_that_another_authority_signed_is_refused(cluster, tmp_path, monkeypatch):
    other = Authority(tmp_path, "other")
    url = f"{cluster.url()}?sslmode=verify-full&sslrootcert={other.file}"
    assert "certificate verify failed" in refusal(url)
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", url)
    done = CliRunner().invoke(migrate)
    assert done.exit_code != 0
    assert isinstance(done.exception, SystemExit), done.exception
    assert "certificate verify failed" in done.output


def test_a_server_with_another_name_is_refused_in_full_verification_only(cluster, authority):
    options = f"?sslrootcert={authority.file}&hostaddr=127.0.0.1&host=db.example.com"
    url = f"postgresql://postgres@:{cluster.port}/postgres{options}"
    assert refusal(f"{url}&sslmode=verify-ca") is None
    assert "db.example.com" in refusal(f"{url}&sslmode=verify-full")


def test_a_certificate_replaces_the_password(cluster, authority, install):
    certificate, key = authority.issue("signed")
    url = cluster.url().replace("postgres@", "signed@")
    url += f"?sslmode=verify-full&sslrootcert={authority.file}"
    assert "certificate" in refusal(url)
    installation = install(f"{url}&sslcert={certificate}&sslkey={key}")
    _, token = installation.key(installation.account())
    assert installation.call(token) == 200
    with installation.connect() as connection:
        assert connection.info.user == "signed"
