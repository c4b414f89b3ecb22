"""`keygauge doctor`: find what keeps a metered service from working, and say the way out."""

from __future__ import annotations

import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click

from keygauge.command import Verb
from keygauge.http import forwarding
from keygauge.settings import Settings, SettingsError
from keygauge.spool import own_files
from keygauge.spool.spool import kept_since, strangers
from keygauge.telemetry import setup

_TIMEOUT_S = 3.0
_OK = 200
_UNAUTHORIZED = 401
_UNPROCESSABLE = 422


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    is_good: bool
    text: str
    mark: str = ""  # in place of the usual one


@click.command("doctor", cls=Verb, examples=("keygauge doctor", "keygauge doctor --after-restore"))
@click.option("--after-restore", is_flag=True, help="Tell too which events this host has for a restored ledger.")
def command(*, after_restore: bool) -> int:
    """Check the settings, the key service, the token and the spool."""
    findings = []
    for finding in examine(after_restore=after_restore):
        findings.append(finding)
        click.echo(f"{finding.mark or ('ok  ' if finding.is_good else 'FAIL')}  {finding.text}")
    return 0 if all(finding.is_good for finding in findings) else 1


def examine(*, after_restore: bool = False) -> Iterator[Finding]:
    """Look at everything a metered service needs, in the order it needs it."""
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
        yield from _strangers(settings)
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
        way_out = "give a directory that this user may write to in KEYGAUGE_SPOOL_DIR"
        text = f"the spool {settings.spool_dir} cannot be {trouble} ({error.strerror}): {way_out}"
        return Finding(is_good=False, text=text)
    return Finding(is_good=True, text=f"the spool {settings.spool_dir} is writable")


def _metrics() -> Finding:
    try:
        exports = setup.check()
    except setup.TelemetryError as error:
        return Finding(is_good=False, text=f"the environment asks for an export of metrics, but {error}")
    if not exports:
        text = "metrics go where the service's own OpenTelemetry goes: the environment asks for no export"
        return Finding(is_good=True, text=text)
    return Finding(is_good=True, text=f"what the export of metrics needs is installed: {', '.join(exports)}")


def _strangers(settings: Settings) -> Iterator[Finding]:
    """Tell of events that no process with these settings ships; no fault, as the others may be about to."""
    for address, count in sorted(strangers(settings.spool_dir, settings.service_address).items()):
        way_out = (
            f"a metered service of this user with KEYGAUGE_SERVICE_URL={address} ships them; "
            f"if that one has moved here, empty the .lock files in {settings.spool_dir} that tell its address"
        )
        text = f"spools of killed processes that wait for another key service, {address}: {count}; {way_out}"
        yield Finding(is_good=True, text=text)


def _kept(settings: Settings) -> Finding:
    """Tell since when events are kept here, which a ledger that was restored gets again."""
    spools = kept_since(settings.spool_dir)
    if not spools:
        return Finding(is_good=True, text="no events are kept on this host")
    since = datetime.fromtimestamp(min(spools.values()) / 1e6, UTC)
    kept = f"events since {since:%Y-%m-%d %H:%M:%S} UTC are kept here, in {len(spools)} spools"
    return Finding(is_good=True, text=f"{kept}: the ledger gets those that it misses")


def _service(url: str) -> Finding:
    try:
        status = _status(f"{url.rstrip('/')}/readyz")
    except OSError as error:
        way_out = "start it with 'keygauge serve', or correct KEYGAUGE_SERVICE_URL"
        return Finding(is_good=False, text=f"the key service at {url} does not answer ({error}): {way_out}")
    except (http.client.HTTPException, ValueError):
        way_out = "is it another service's port? Correct KEYGAUGE_SERVICE_URL"
        text = f"{url} does not answer in HTTP: {way_out}"
        return Finding(is_good=False, text=text)
    if status < 500 and status != _OK:  # noqa: PLR2004 - of the server's own making
        return _elsewhere(url, f"/readyz was answered with {status}")
    if status != _OK:
        way_out = "look at its log; is its database there, and was 'keygauge migrate' run?"
        return Finding(is_good=False, text=f"the key service at {url} is not ready (status {status}): {way_out}")
    return Finding(is_good=True, text=f"the key service at {url} is ready")


def _token(url: str, token: str) -> Finding:
    """Send an empty heartbeat, which changes nothing: it is refused as such only after its token was accepted."""
    try:
        status = _status(f"{url.rstrip('/')}/v1/heartbeat", token=token, body=b"{}")
    except (OSError, http.client.HTTPException, ValueError):
        return Finding(is_good=False, text="the key service did not take a beat: look at its log")
    if status == _UNAUTHORIZED:
        way_out = "give both the same; 'keygauge serve' keeps one it made itself in service_token of its data directory"
        return Finding(is_good=False, text=f"KEYGAUGE_SERVICE_TOKEN is not the key service's: {way_out}")
    if status != _UNPROCESSABLE:
        return _elsewhere(url, f"a beat was answered with {status}")
    return Finding(is_good=True, text="the token is accepted")


def _elsewhere(url: str, seen: str) -> Finding:
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}"
    way_out = f", try {address}" if url.rstrip("/") != address else ""
    text = f"{seen}: is {url} a KeyGauge key service? Correct KEYGAUGE_SERVICE_URL{way_out}"
    return Finding(is_good=False, text=text)


def _status(url: str, *, token: str | None = None, body: bytes | None = None) -> int:
    request = urllib.request.Request(url, body)  # noqa: S310 - Settings takes http and https only
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
