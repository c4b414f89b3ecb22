"""The base of the ASGI and WSGI middleware: their options, and the first steps of each request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from keygauge.http.forwarding import client_ip
from keygauge.http.key_status import KeyStatusPath
from keygauge.http.problem import Answer
from keygauge.http.request import Request, Waits
from keygauge.http.routing import router
from keygauge.http.routing.layers import HostSearch
from keygauge.http.routing.open_paths import OpenPaths
from keygauge.limits.credential import Conflict, headers_for
from keygauge.limits.refusal import Refusal
from keygauge.networks import parse_networks
from keygauge.process import Process
from keygauge.runtime import Runtime
from keygauge.settings.settings import Mode, Settings, SettingsError
from keygauge.tag import TagError, TagSource
from keygauge.telemetry import tracing

App = TypeVar("App")
Given = TypeVar("Given")  # the server's data of a request: an ASGI scope or a WSGI environ


class Middleware(Generic[App, Given]):
    """Meter and guard an app by key.

    Options are keyword arguments and default to the `KEYGAUGE_*` environment, see `docs/reference/settings.md`.
    `identify` is for services with keys of their own, in observe mode: given the ASGI scope or WSGI environ, it returns
    the id to count the call under (never the key itself), or None.

    Raises:
        SettingsError: a setting is missing or wrong.
    """

    def __init__(
        self,
        app: App,
        *,
        service_url: str | None = None,
        service_token: str | None = None,
        spool_dir: str | Path | None = None,
        mode: Mode | None = None,
        identify: Callable[[Given], str | None] | None = None,
        open_paths: Iterable[str] | None = None,
        service_name: str | None = None,
        wait_s: float | None = None,
        trusted_proxies: Iterable[str] | None = None,
        key_status_path: str | None = None,
        tag: str | None = None,
    ) -> None:
        self.app = app
        self._identify = identify
        self._process: Process | _Unset
        try:
            settings = Settings.from_environment(
                service_url=service_url,
                service_token=service_token,
                spool_dir=spool_dir,
                mode=mode,
                open_paths=None if open_paths is None else tuple(open_paths),
                service_name=service_name,
                wait_s=wait_s,
                trusted_proxies=None if trusted_proxies is None else tuple(trusted_proxies),
                key_status_path=key_status_path,
                tag=tag,
            )
            self._process = _make_process(settings, has_keys=identify is not None)
        except SettingsError as error:
            if not self._fails_later():
                raise
            settings = Settings(mode="observe", spool_dir=Path())  # placeholder: nothing starts
            self._process = _Unset(error)
        self._settings = settings
        self._proxies = parse_networks(settings.trusted_proxies)
        self._names = headers_for(settings.credential_header)
        self._open_paths = OpenPaths(settings.open_paths)
        self._key_status = KeyStatusPath.of(settings)
        self._tag = settings.tag_source
        self._host = HostSearch(app, self._is_host)
        router.follow()
        self._prepare()

    def _prepare(self) -> None:
        """Run the setup specific to ASGI or WSGI."""

    def _fails_later(self) -> bool:
        """Return whether errors in settings are reported when the app starts."""
        return False

    def _is_host(self, app: Any) -> bool:
        """Return whether an app's routes can be read."""
        raise NotImplementedError

    def _credential(self, given: Given) -> bytes | Conflict | None:
        """Return the key of a request."""
        raise NotImplementedError

    def _arrive(self, request: Request, given: Given, token: bytes | Conflict | None) -> Refusal | Waits | None:
        """Count a new request as active, and decide on it if that needs no waiting."""
        call, runtime = request.call, request.runtime
        runtime.aggregator.started(call)
        if tracing.current():
            runtime.attempt("span", tracing.find, call)
        if self._proxies:
            call.ip = client_ip(call.ip, request.header("x-forwarded-for"), self._proxies)
        if self._tag is not None:
            runtime.attempt("tag", self._note_tag, request, self._tag)
        if runtime.authorizer is not None and self._identify is None:
            return request.decide(runtime.authorizer, token)
        if self._identify is not None:
            try:
                call.key = self._identify(given) or call.key
            except Exception:  # noqa: BLE001 - a failing `identify` costs a label, not the call
                runtime.fault("identify")
        return None

    def _note_tag(self, request: Request, source: TagSource) -> None:
        """Set the call's end user from a header; count one that is rejected."""
        try:
            request.call.tag = source.find(request.header(source.header))
        except TagError as error:
            request.runtime.aggregator.tag_dropped(error.fault)

    def _answer_status(
        self,
        path: KeyStatusPath,
        runtime: Runtime,
        given: Given,
        header: Callable[[str], str],
        *,
        ip: str | None,
        query: str,
    ) -> Answer:
        """Return the answer about a caller's own key; this blocks."""
        ip = client_ip(ip, header("x-forwarded-for"), self._proxies)
        token, origin = self._credential(given), bool(header("origin"))
        return path.answer(runtime.key_status, token, ip=ip, query=query, origin=origin)


def _make_process(settings: Settings, *, has_keys: bool) -> Process:
    if has_keys and settings.mode != "observe":
        raise SettingsError("identify requires mode='observe': your own keys can be counted, not enforced")
    return Process(settings)


class _Unset:
    """A substitute for the process if the settings are wrong; it never starts."""

    runtime = None

    def __init__(self, error: SettingsError) -> None:
        self._error = error

    def start(self) -> NoReturn:
        raise self._error

    def stop(self) -> None:
        """Do nothing."""
