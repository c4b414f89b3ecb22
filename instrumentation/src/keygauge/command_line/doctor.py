"""`keygauge doctor`: checks that find problems of a metered service and suggest fixes."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import click

from keygauge.command_line.command import Verb
from keygauge.command_line.count import counted
from keygauge.http import forwarding
from keygauge.settings.setting_names import find_misspelled
from keygauge.settings.settings import Settings, SettingsError
from keygauge.spool import own_files
from keygauge.spool.spool import foreign_spools, kept_since
from keygauge.telemetry import setup

CHECKS = "keygauge.checks"  # other distributions' checks: functions that yield (is it good, text)
_TIMEOUT_S = 3.0
_OK = 200
_UNAUTHORIZED = 401
_UNPROCESSABLE = 422


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    is_good: bool
    text: str
    mark: str = ""  # replaces the default mark


@click.command("doctor", cls=Verb, examples=("keygauge doctor", "keygauge doctor --after-restore"))
@click.option("--after-restore", is_flag=True, help="Also show which events this host keeps for a restored ledger.")
def command(*, after_restore: bool) -> int:
    """Check the settings, the key service, the token and the spool.

    With KEYGAUGE_DATABASE_URL, as on hosts of the key service, also check the database.
    """
    findings = []
    for finding in examine(after_restore=after_restore):
        findings.append(finding)
        click.echo(f"{finding.mark or ('ok  ' if finding.is_good else 'FAIL')}  {finding.text}")
    return 0 if all(finding.is_good for finding in findings) else 1


def examine(*, after_restore: bool = False) -> Iterator[Finding]:
    """Check everything a metered service needs, in the order it is needed."""
    for name, meant in find_misspelled(os.environ):
        yield Finding(is_good=True, text=f"{name} is not a setting and has no effect: is it {meant}?", mark="note")
    others = [Finding(*found) for point in entry_points(group=CHECKS) for found in point.load()()]
    yield from others
    if others and not os.environ.get("KEYGAUGE_SERVICE_URL"):  # a host of the key service, not of a metered one
        return
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        yield Finding(is_good=False, text=str(error))
        return
    yield Finding(is_good=True, text=f"the settings are complete; mode {settings.mode}")
    spool = _spool(settings)
    yield spool
    yield _metrics()
    for is_good, text in forwarding.examine(settings.trusted_proxies):
        yield Finding(is_good=is_good, text=text, mark="note" if is_good else "FAIL")
    if settings.service_url is None:
        yield Finding(is_good=True, text="no key service: calls are observed only")
        return
    if spool.is_good:
        yield from _foreign_spools(settings)
        if after_restore:
            yield _kept(settings)
    reached = _service(settings.service_url)
    yield reached
    if reached.is_good:
        yield _token(settings.service_url, settings.service_token or "")


def _spool(settings: Settings) -> Finding:
    trouble = "made"
    try:
        own_files.make(settings.spool_dir)
        trouble = "written to"
        with tempfile.TemporaryFile(dir=settings.spool_dir) as file:
            file.write(b"x")
    except OSError as error:
        way_out = "set KEYGAUGE_SPOOL_DIR to a directory that this user can write to"
        text = f"the spool {settings.spool_dir} cannot be {trouble} ({error.strerror}): {way_out}"
        return Finding(is_good=False, text=text)
    return Finding(is_good=True, text=f"the spool {settings.spool_dir} is writable")


def _metrics() -> Finding:
    try:
        exports = setup.check()
    except setup.TelemetryError as error:
        return Finding(is_good=False, text=f"metrics export is configured, but {error}")
    if not exports:
        text = "no metrics export is configured: metrics go wherever the service's own OpenTelemetry sends them"
        return Finding(is_good=True, text=text)
    return Finding(is_good=True, text=f"the metrics exporters are installed: {', '.join(exports)}")


def _foreign_spools(settings: Settings) -> Iterator[Finding]:
    """Report events that only processes of another key service ship; not a failure, as they may still do so."""
    for address, count in sorted(foreign_spools(settings.spool_dir, settings.service_address).items()):
        way_out = (
            f"a metered service of this user with KEYGAUGE_SERVICE_URL={address} ships them; "
            f"if that one has moved here, empty the .lock files in {settings.spool_dir} that tell its address"
        )
        text = f"spools of killed processes are waiting for another key service, {address}: {count}; {way_out}"
        yield Finding(is_good=True, text=text)


def _kept(settings: Settings) -> Finding:
    """Report since when events are kept on this host, for a restored ledger."""
    spools = kept_since(settings.spool_dir)
    if not spools:
        return Finding(is_good=True, text="no events are kept on this host")
    since = datetime.fromtimestamp(min(spools.values()) / 1e6, UTC)
    kept = f"events since {since:%Y-%m-%d %H:%M:%S} UTC are kept here, in {counted(len(spools), 'spool')}"
    return Finding(is_good=True, text=f"{kept}: the ledger gets those it is missing")


def _service(url: str) -> Finding:
    try:
        status = _status(f"{url.rstrip('/')}/readyz")
    except OSError as error:
        way_out = "start it with 'keygauge serve', or correct KEYGAUGE_SERVICE_URL"
        return Finding(is_good=False, text=f"the key service at {url} does not answer ({error}): {way_out}")
    except (http.client.HTTPException, ValueError):
        way_out = "is this another service's port? Correct KEYGAUGE_SERVICE_URL"
        text = f"{url} does not answer in HTTP: {way_out}"
        return Finding(is_good=False, text=text)
    if status < 500 and status != _OK:  # noqa: PLR2004 - not a server error
        return _wrong_address(url, f"/readyz was answered with {status}")
    if status != _OK:
        way_out = "see its log; check that its database is up and run 'keygauge migrate'"
        return Finding(is_good=False, text=f"the key service at {url} is not ready (status {status}): {way_out}")
    return Finding(is_good=True, text=f"the key service at {url} is ready")


def _token(url: str, token: str) -> Finding:
    """Send an empty heartbeat, which changes nothing: its token is checked before its body is rejected."""
    try:
        status = _status(f"{url.rstrip('/')}/v1/heartbeat", token=token, body=b"{}")
    except (OSError, http.client.HTTPException, ValueError):
        return Finding(is_good=False, text="the key service rejected a heartbeat: see its log")
    if status == _UNAUTHORIZED:
        way_out = (
            "use the same on both sides; 'keygauge serve' keeps a generated one in service_token in its data directory"
        )
        return Finding(is_good=False, text=f"the key service rejected KEYGAUGE_SERVICE_TOKEN: {way_out}")
    if status != _UNPROCESSABLE:
        return _wrong_address(url, f"a heartbeat was answered with {status}")
    return Finding(is_good=True, text="the token is accepted")


def _wrong_address(url: str, seen: str) -> Finding:
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}"
    way_out = f", try {address}" if url.rstrip("/") != address else ""
    text = f"{seen}: is {url} a KeyGauge key service? Correct KEYGAUGE_SERVICE_URL{way_out}"
    return Finding(is_good=False, text=text)


def _status(url: str, *, token: str | None = None, body: bytes | None = None) -> int:
    request = urllib.request.Request(url, body)  # noqa: S310 - Settings accepts only http and https
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
