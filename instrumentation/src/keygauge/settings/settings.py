"""The middleware's settings, from keyword arguments or the environment."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from keygauge.networks import parse_networks
from keygauge.settings import conventions
from keygauge.settings.provider_rule import parse_rule
from keygauge.tag import TagSource

Mode = Literal["enforce", "observe"]


SPOOL_BYTES_MIN = 64 * 1024
_KEEP_S_MAX = 7 * 86_400
_DIGITS_MAX = 18  # of an integer
_SWITCHES = (
    "KEYGAUGE_ESTIMATE_USAGE",
    "KEYGAUGE_IMPORTED_KEYS",
    "KEYGAUGE_LOG_FIELDS",
    "KEYGAUGE_PROMETHEUS",
)  # all are validated here


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it and the fix."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one process.

    Attributes:
        service_url: the key service, e.g. `http://127.0.0.1:8080`; None only in observe mode.
        service_token: the bearer token that the key service accepts from replicas.
        spool_dir: the directory of events not yet in the ledger, on a disk that outlives the process.
        mode: `enforce` can refuse calls; `observe` only counts them.
        open_paths: paths that need no key and are not metered; a trailing `*` matches any path with that prefix.
        wait_s: how long, in seconds, a request waits at most for a key service that does not answer.
        spool_bytes: the maximum spool size; events beyond it are dropped and counted, those on disk are kept.
        spool_keep_s: how long, in seconds, events are kept after shipping, in case the ledger is restored to an earlier
            time.
        service_name: the name of the metered service.
        estimate_usage: estimate the tokens of model answers that report no usage, and mark these calls; None: only for
            streams, as a client may disconnect before the usage is sent; False: never.
        providers: the provider whose answers a route returns, as (pattern, provider); a trailing `*` matches any path
            with that prefix.
        credential_header: the only header that holds our keys, if the host uses the others; None: the usual ones.
        imported_keys: also accept keys that another system issued (`keygauge keys import`), not only our format.
        key_status_path: the path where callers can see their own key's status, such as `/v1/me`; None: disabled.
        tag: the source of a call's end user, such as `header:X-End-User` or `claim:sub`; None: disabled.
        trusted_proxies: addresses and networks of proxies whose X-Forwarded-For header is trusted.
    """

    service_url: str | None = None
    service_token: str | None = field(default=None, repr=False)
    spool_dir: Path
    mode: Mode = "enforce"
    open_paths: tuple[str, ...] = ("/healthz", "/health", "/ping", "/metrics", "/metrics/")
    credential_header: str | None = None
    key_status_path: str | None = None
    imported_keys: bool = False
    wait_s: float = 0.25
    spool_bytes: int = 256 * 1024 * 1024
    spool_keep_s: float = 3600.0
    service_name: str = "unknown_service"
    tag: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    estimate_usage: bool | None = None
    providers: tuple[tuple[str, str], ...] = ()
    host: str = field(default_factory=socket.gethostname)

    def __post_init__(self) -> None:
        self._check_service()
        if not 0 < self.wait_s <= 10:  # noqa: PLR2004 - the message names the bound
            raise SettingsError(f"KEYGAUGE_WAIT_S is {self.wait_s}: use a number of seconds above 0 and up to 10")
        if not 0 <= self.spool_keep_s <= _KEEP_S_MAX:
            raise SettingsError(
                f"KEYGAUGE_SPOOL_KEEP_S is {self.spool_keep_s}: use 0 to {_KEEP_S_MAX} seconds (a week)"
            )
        if type(self.spool_bytes) is not int or self.spool_bytes < SPOOL_BYTES_MIN:
            raise SettingsError(
                f"KEYGAUGE_SPOOL_BYTES is {self.spool_bytes}: use an integer, at least {SPOOL_BYTES_MIN} bytes"
            )
        if self.credential_header is not None and not _is_field_name(self.credential_header):
            raise SettingsError(
                f"KEYGAUGE_CREDENTIAL_HEADER is {self.credential_header!r}: use one header name, e.g. X-KeyGauge-Key"
            )
        if self.key_status_path is not None:
            self._check_key_status(self.key_status_path)
        self._check_tag()
        # A string instead of a list would be split into letters, and its `*` would open every path.
        for path in self.open_paths:
            if not path.startswith("/"):
                raise SettingsError(f"KEYGAUGE_OPEN_PATHS has {path!r}: paths start with /; pass several as a list")

    def _check_key_status(self, path: str) -> None:
        if not path.startswith("/") or path.endswith("*"):
            raise SettingsError(f"KEYGAUGE_KEY_STATUS_PATH is {path!r}: use a path that starts with /, e.g. /v1/me")
        if not self.service_url:
            raise SettingsError("KEYGAUGE_KEY_STATUS_PATH needs KEYGAUGE_SERVICE_URL: the key service answers there")

    def _check_tag(self) -> None:
        try:
            source = self.tag_source
        except ValueError as error:
            raise SettingsError(f"KEYGAUGE_TAG is {error}") from error
        held = (self.credential_header or "").lower()
        if source is not None and source.claim is None and source.header == held:
            raise SettingsError(f"KEYGAUGE_TAG is {self.tag!r}: that header carries the keys; use another one")

    def _check_service(self) -> None:
        if self.mode not in {"enforce", "observe"}:
            raise SettingsError(f"KEYGAUGE_MODE is {self.mode!r}: use 'enforce' or 'observe'")
        if self.mode == "enforce" and not self.service_url:
            raise SettingsError(
                "KEYGAUGE_SERVICE_URL is not set: set it to the key service's address, or set KEYGAUGE_MODE=observe"
            )
        if self.service_url:
            _check_url(self.service_url)
        if self.service_url and not self.service_token:
            raise SettingsError("KEYGAUGE_SERVICE_TOKEN is not set: set it to the key service's service token")
        if self.service_token and not _is_plain(self.service_token):
            raise SettingsError(
                "KEYGAUGE_SERVICE_TOKEN contains a space, a line break or a non-ASCII character: use the bare token"
            )
        if len(parse_networks(self.trusted_proxies)) < len(self.trusted_proxies):
            raise SettingsError(
                f"KEYGAUGE_TRUSTED_PROXIES is {','.join(self.trusted_proxies)!r}: "
                "use addresses or networks, e.g. 10.0.0.0/8"
            )

    @property
    def estimates(self) -> frozenset[str]:
        """Return the kinds of answers whose usage is estimated if they report none."""
        if self.estimate_usage is None:
            return frozenset({"streams"})
        return frozenset({"streams", "documents"}) if self.estimate_usage else frozenset()

    @property
    def tag_source(self) -> TagSource | None:
        """Return the source of a call's end user."""
        return None if self.tag is None else TagSource.parse(self.tag)

    @property
    def service_address(self) -> str:
        """Return the key service's address in canonical form; empty if there is none."""
        if not self.service_url:
            return ""
        parts = urlsplit(self.service_url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path.rstrip('/')}"

    @classmethod
    def from_environment(cls, **given: object) -> Settings:
        """Read `KEYGAUGE_*`; keyword arguments that are not None take precedence.

        Raises:
            SettingsError: a setting is missing or wrong.
        """
        read: dict[str, object] = {
            "service_url": os.environ.get("KEYGAUGE_SERVICE_URL") or None,
            "service_token": os.environ.get("KEYGAUGE_SERVICE_TOKEN") or None,
            "spool_dir": Path(os.environ.get("KEYGAUGE_SPOOL_DIR") or _default_spool_dir()),
            "mode": os.environ.get("KEYGAUGE_MODE") or "enforce",
            "credential_header": os.environ.get("KEYGAUGE_CREDENTIAL_HEADER") or None,
            "key_status_path": os.environ.get("KEYGAUGE_KEY_STATUS_PATH") or None,
            "service_name": _service_name(),
            "tag": os.environ.get("KEYGAUGE_TAG") or None,
        }
        try:
            conventions.chosen()
        except conventions.ProfileError as error:
            raise SettingsError(str(error)) from error
        switches = {name: _switch(name) for name in _SWITCHES}
        read["imported_keys"] = switches["KEYGAUGE_IMPORTED_KEYS"]
        if os.environ.get("KEYGAUGE_ESTIMATE_USAGE"):
            read["estimate_usage"] = switches["KEYGAUGE_ESTIMATE_USAGE"]
        if rules := os.environ.get("KEYGAUGE_PROVIDERS"):
            read["providers"] = _provider_rules(rules)
        if paths := os.environ.get("KEYGAUGE_OPEN_PATHS"):
            read["open_paths"] = tuple(path.strip() for path in paths.split(",") if path.strip())
        if proxies := os.environ.get("KEYGAUGE_TRUSTED_PROXIES"):
            read["trusted_proxies"] = tuple(proxy.strip() for proxy in proxies.split(",") if proxy.strip())
        if wait := os.environ.get("KEYGAUGE_WAIT_S"):
            read["wait_s"] = _number("KEYGAUGE_WAIT_S", wait)
        if keep := os.environ.get("KEYGAUGE_SPOOL_KEEP_S"):
            read["spool_keep_s"] = _number("KEYGAUGE_SPOOL_KEEP_S", keep)
        if size := os.environ.get("KEYGAUGE_SPOOL_BYTES"):
            read["spool_bytes"] = _whole("KEYGAUGE_SPOOL_BYTES", size)
        read |= {name: value for name, value in given.items() if value is not None}
        read["spool_dir"] = Path(str(read["spool_dir"]))
        return cls(**read)  # type: ignore[arg-type]  # __post_init__ validates the values


_is_field_name = re.compile(r"[A-Za-z0-9-]+").fullmatch


def _service_name() -> str:
    """Return the service name that OpenTelemetry's SDK uses in metrics."""
    pairs = (pair.partition("=") for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    attributes = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    return os.environ.get("OTEL_SERVICE_NAME") or attributes.get("service.name") or "unknown_service"


def _default_spool_dir() -> str:
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return str(Path(state, "keygauge", "spool"))


def _switch(name: str) -> bool:
    text = os.environ.get(name) or "0"
    if text not in {"0", "1"}:
        raise SettingsError(f"{name} is {text!r}: use 1, or 0 for off")
    return text == "1"


def _provider_rules(text: str) -> tuple[tuple[str, str], ...]:
    rules = []
    for rule in filter(None, map(str.strip, text.split(","))):
        try:
            rules.append(parse_rule(rule))
        except ValueError as error:
            raise SettingsError(f"KEYGAUGE_PROVIDERS has {error}") from error
    return tuple(rules)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}: use a number") from error


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise SettingsError(f"{name} is {text!r}: use an integer, 0 or more")
    return int(text)


def _check_url(url: str) -> None:
    """Check that an address can be connected to.

    Raises:
        SettingsError: the address is invalid; the message omits it if it may contain a password.
    """
    if "@" in url:
        raise SettingsError(
            "KEYGAUGE_SERVICE_URL contains a user name: use only host and port; KEYGAUGE_SERVICE_TOKEN authenticates"
        )
    if not url.lower().startswith(("http://", "https://")):
        raise SettingsError(f"KEYGAUGE_SERVICE_URL is {url!r}: it must start with http:// or https://")
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0 and _is_plain(url)
    except ValueError:  # a port that is not a number or above 65535, or an unclosed bracket
        is_usable = False
    if not is_usable:
        raise SettingsError(f"KEYGAUGE_SERVICE_URL is {url!r}: use host and port, as in http://127.0.0.1:8080")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
