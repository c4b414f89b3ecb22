"""The key service's settings, from the environment."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from keygauge_keyservice import embedded
from keygauge_keyservice.accounts.oidc import Provider
from keygauge_keyservice.keys.key_bound import PER_ACCOUNT_MAX
from keygauge_keyservice.ledger.event import TOKENS_MAX
from keygauge_keyservice.ledger.plausible import Bounds
from keygauge_keyservice.notices.mail import MailServer
from keygauge_keyservice.notices.webhook import Sender
from keygauge_keyservice.notices.worker import Worker as NoticeWorker
from keygauge_keyservice.secret import PepperError, Peppers, generate_pepper

RETENTION_DAYS = 400
_DIGITS_MAX = 10
RETENTION_DAYS_MAX = 3660
_ACCOUNT_KEYS_MAX = 10_000_000
_TOKEN_LENGTH_MIN = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


_is_web_address = re.compile(r"https?://[a-z0-9\[][a-z0-9._~:/%\[\]@+,=-]*", re.IGNORECASE).fullmatch

_is_mail_address = re.compile(r"mailto:[a-z0-9._+-]+@[a-z0-9.-]+", re.IGNORECASE).fullmatch


class SettingsError(ValueError):
    """A setting is missing or invalid; the message names it and says how to fix it."""


@dataclass(frozen=True)
class Settings:
    """The key service's settings; its repr contains no secrets."""

    database_url: str = field(repr=False)
    service_token: str = field(repr=False)  # for replicas: heartbeats and events only
    admin_token: str = field(repr=False)  # for operators: full access
    peppers: Peppers = field(repr=False)
    admin_token_is_new: bool = False  # just generated: show it once
    trace_url: str | None = None  # URL of a trace, with a {trace_id} placeholder
    api_url: str = "https://api.example.com/"  # a URL of the metered API for the portal's curl examples
    contact_url: str | None = None  # where customers reach the operator: a page, or mailto: and an e-mail address
    public_url: str | None = None  # the portal's public URL, used for links and redirects instead of the Host header
    oidc: Provider | None = None  # identity provider for signing in to the portal, in addition to passwords
    has_mail_server: bool = False  # else e-mail notifications wait until there is one
    read_only: bool = False  # pages and reports from a standby; all writes are refused
    bounds: Bounds = field(default_factory=Bounds)  # for the usage that services report
    account_keys_max: int = PER_ACCOUNT_MAX  # keys of an account that are not deleted
    proxies: int = 0  # number of reverse proxies, each of which sets X-Forwarded-For, -Proto and -Host

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment; missing secrets are generated and kept in KEYGAUGE_DATA_DIR.

        Raises:
            SettingsError: a setting is invalid.
            EmbeddedError: KEYGAUGE_DATABASE_URL is not set and the embedded PostgreSQL is not available.
        """
        directory = data_directory(environ)
        admin_token, admin_token_is_new = _token(environ, "KEYGAUGE_ADMIN_TOKEN", directory)
        service_token, _ = _token(environ, "KEYGAUGE_SERVICE_TOKEN", directory)
        return cls(
            database_url=database_url(environ),
            service_token=service_token,
            admin_token=admin_token,
            peppers=peppers(environ),
            admin_token_is_new=admin_token_is_new,
            oidc=_provider(environ),
            has_mail_server=bool(environ.get("KEYGAUGE_SMTP_URL")),
            read_only=environ.get("KEYGAUGE_READ_ONLY") == "1",
            bounds=_bounds(environ),
            account_keys_max=account_keys_max(environ),
            proxies=_count(environ, "KEYGAUGE_PROXIES"),
            trace_url=_web_address(environ, "KEYGAUGE_TRACE_URL", "https://grafana.acme.com/trace/{trace_id}"),
            api_url=_web_address(environ, "KEYGAUGE_API_URL", "https://api.acme.com/v1/models") or cls.api_url,
            contact_url=_contact(environ),
            public_url=public_url(environ),
        )


def public_url(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the portal's public address, if set.

    Raises:
        SettingsError: KEYGAUGE_PUBLIC_URL is invalid.
    """
    return _web_address(environ, "KEYGAUGE_PUBLIC_URL", "https://keys.acme.com")


def data_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of the embedded database and generated secrets."""
    return Path(environ.get("KEYGAUGE_DATA_DIR") or ".keygauge").absolute()


def embedded_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of the embedded database."""
    return data_directory(environ) / "postgresql"


def database_url(environ: Mapping[str, str] = os.environ) -> str:
    """Return the database's URL; if there is none, start the embedded database.

    Raises:
        SettingsError: KEYGAUGE_DATABASE_URL is invalid; the message omits it, as it may contain a password.
        EmbeddedError: it is not set, and the embedded PostgreSQL is not available.
    """
    url = environ.get("KEYGAUGE_DATABASE_URL")
    if not url:
        return embedded.start(embedded_directory(environ)).get_uri()
    try:
        ports = str(conninfo_to_dict(url).get("port") or "").split(",")
    except psycopg.ProgrammingError:
        ports = ["?"]
    if not all(port.isdigit() or not port for port in ports):
        raise SettingsError("KEYGAUGE_DATABASE_URL: must look like postgresql://user:password@host:5432/name")
    return url


def retention_days(environ: Mapping[str, str] = os.environ) -> int:
    """Return for how many days individual calls are kept; totals are kept forever.

    Raises:
        SettingsError: KEYGAUGE_RETENTION_DAYS is invalid.
    """
    return _number(environ, "KEYGAUGE_RETENTION_DAYS", RETENTION_DAYS, RETENTION_DAYS_MAX, "days")


def account_keys_max(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many keys an account can have, without deleted ones.

    Raises:
        SettingsError: KEYGAUGE_ACCOUNT_KEYS_MAX is invalid.
    """
    return _number(environ, "KEYGAUGE_ACCOUNT_KEYS_MAX", PER_ACCOUNT_MAX, _ACCOUNT_KEYS_MAX, "keys")


def peppers(environ: Mapping[str, str] = os.environ) -> Peppers:
    """Return the peppers; if none is set, the generated one.

    Raises:
        SettingsError: KEYGAUGE_PEPPER is invalid.
    """
    text = environ.get("KEYGAUGE_PEPPER") or _kept(data_directory(environ) / "pepper", generate_pepper)[0]
    try:
        return Peppers.parse(text)
    except PepperError as error:
        raise SettingsError(f"KEYGAUGE_PEPPER: {error}") from error


def notice_worker(environ: Mapping[str, str] = os.environ) -> NoticeWorker:
    """Return the worker that sends notifications.

    Raises:
        SettingsError: one of its settings is invalid.
    """
    url, sender = environ.get("KEYGAUGE_SMTP_URL"), environ.get("KEYGAUGE_SMTP_FROM", "")
    try:
        mail = MailServer.parse(url, sender) if url else None
    except ValueError as error:
        raise SettingsError(
            "KEYGAUGE_SMTP_URL: use smtp+starttls://user:password@host:587, and an address for KEYGAUGE_SMTP_FROM"
        ) from error
    try:
        allowed = tuple(ip_network(text) for text in environ.get("KEYGAUGE_WEBHOOK_NETWORKS", "").split())
    except ValueError as error:
        raise SettingsError(f"KEYGAUGE_WEBHOOK_NETWORKS: {error}: use networks such as 10.0.0.0/8") from error
    return NoticeWorker(mail, Sender(allowed=allowed))


def _bounds(environ: Mapping[str, str]) -> Bounds:
    return Bounds(_number(environ, "KEYGAUGE_EVENT_TOKENS_MAX", Bounds.event, TOKENS_MAX, "tokens"))


def _number(environ: Mapping[str, str], name: str, default: int, most: int, unit: str) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and 1 <= int(text) <= most):
        raise SettingsError(f"{name}: must be 1 to {most} {unit}")
    return int(text)


def _provider(environ: Mapping[str, str]) -> Provider | None:
    issuer, client_id = (environ.get(f"KEYGAUGE_OIDC_{name}", "").strip() for name in ("ISSUER", "CLIENT_ID"))
    if not issuer and not client_id:
        return None
    if not (issuer and client_id):
        raise SettingsError("KEYGAUGE_OIDC_ISSUER and KEYGAUGE_OIDC_CLIENT_ID: set both or neither")
    parts = urlsplit(issuer)
    if not parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        raise SettingsError("KEYGAUGE_OIDC_ISSUER: must start with https://")
    return Provider(
        issuer,
        client_id,
        environ.get("KEYGAUGE_OIDC_CLIENT_SECRET") or None,
        environ.get("KEYGAUGE_OIDC_NAME") or Provider.name,
    )


def _web_address(environ: Mapping[str, str], name: str, example: str) -> str | None:
    url = environ.get(name)
    if url and not _is_web_address(url):  # customers paste it into a shell
        raise SettingsError(f"{name}: must be an address such as {example}")
    return url or None


def _contact(environ: Mapping[str, str]) -> str | None:
    url = environ.get("KEYGAUGE_CONTACT_URL")
    if url and not (_is_web_address(url) or _is_mail_address(url)):
        raise SettingsError("KEYGAUGE_CONTACT_URL: must be an address such as mailto:help@acme.com")
    return url or None


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) == 1):
        raise SettingsError(f"{name}: must be the number of proxies, 0 to 9")
    return int(text)


def _token(environ: Mapping[str, str], name: str, directory: Path) -> tuple[str, bool]:
    token, is_new = environ.get(name), False
    if not token:
        file = directory / name.removeprefix("KEYGAUGE_").lower()
        token, is_new = _kept(file, lambda: secrets.token_urlsafe(32))
    if len(token) < _TOKEN_LENGTH_MIN or not token.isascii() or " " in token:
        raise SettingsError(f"{name}: must have {_TOKEN_LENGTH_MIN} or more ASCII characters and no spaces")
    return token, is_new


def _kept(file: Path, generate: Callable[[], str]) -> tuple[str, bool]:
    """Return a file's secret and whether it was just generated; if many processes start at once, one generates it."""
    if file.exists():
        return file.read_text(encoding="ascii").strip(), False
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # readable by this user only
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(generate())
    try:
        os.link(draft, file)  # fails if another process was first; a reader never sees a partial secret
        is_new = True
    except FileExistsError:
        is_new = False
    finally:
        Path(draft).unlink()
    return file.read_text(encoding="ascii").strip(), is_new
