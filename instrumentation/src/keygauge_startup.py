"""Fail-closed startup of zero-code instrumentation: the process exits if OpenTelemetry does not start KeyGauge.

OpenTelemetry only logs errors in its setup (an exporter that is not installed, another instrumentation that fails) and
serves without the instrumentations that it had not loaded by then. `keygauge.pth` imports this module when the
interpreter starts, so it does not import the package, which may be what fails.

OpenTelemetry's distro exports everything over OTLP by default, and its setup fails if the exporters are not installed.
Export settings missing in the environment therefore default to what is installed: no export, or the available protocol.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, NoReturn

_SETUP = "opentelemetry.instrumentation.auto_instrumentation"
_SIGNALS = ("traces", "metrics", "logs")
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_HTTP, _GRPC = "otlp_proto_http", "otlp_proto_grpc"
_NEVER_BY_DEFAULT = {"console", "prometheus"}  # exporters that no distro selects by default
_NO_EXPORTER = """KeyGauge: no OpenTelemetry exporter is installed, so {signals} are not exported. To export them:
pip install 'opentelemetry-distro[otlp]'; to leave this line out: {variables}
"""
_WAY_OUT = """To fix this, do one of the following:
- install the exporters that OpenTelemetry is told to use: pip install 'opentelemetry-distro[otlp]'
- use none: OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none
- add the middleware in code, and set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=keygauge
- refuse no call: KEYGAUGE_MODE=observe
"""


def watch() -> None:
    """Ensure that OpenTelemetry's setup starts KeyGauge if it runs in this process."""
    if _is_turned_off():
        return
    try:
        from wrapt import register_post_import_hook  # noqa: PLC0415 - imported only if used
    except ImportError as error:
        if _SETUP.replace(".", os.sep) in os.environ.get("PYTHONPATH", "") and not _observes():
            _refuse(error)
        return
    register_post_import_hook(_guard, _SETUP)


def _guard(setup: Any) -> None:
    _export_by_what_is_there()
    if not _observes():
        setup.initialize = _closing(setup.initialize)


def _export_by_what_is_there() -> None:
    """Set the export variables missing in the environment, so that the distro's defaults do not fail."""
    opened = [signal for signal in _SIGNALS if f"OTEL_{signal.upper()}_EXPORTER" not in os.environ]
    if not opened or "OTEL_CONFIG_FILE" in os.environ:
        return
    installed = {signal: entry_points(group=f"opentelemetry_{signal}_exporter").names for signal in opened}
    if _PROTOCOL not in os.environ and all(_HTTP in names and _GRPC not in names for names in installed.values()):
        os.environ[_PROTOCOL] = "http/protobuf"
    without = [signal for signal, names in installed.items() if names <= _NEVER_BY_DEFAULT]
    variables = [f"OTEL_{signal.upper()}_EXPORTER" for signal in without]
    os.environ.update(dict.fromkeys(variables, "none"))
    if without:
        given = " ".join(f"{name}=none" for name in variables)
        sys.stderr.write(_NO_EXPORTER.format(signals=", ".join(without), variables=given))


def _closing(initialize: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(initialize)
    def closing(**options: Any) -> None:
        try:
            initialize(**{**options, "swallow_exceptions": False})
        except Exception as error:  # noqa: BLE001 - after any error, KeyGauge may not be running
            _refuse(error)
        instrumentor: Any = sys.modules.get("keygauge.instrumentor")
        if instrumentor is None or not instrumentor.KeyGaugeInstrumentor.is_on:
            _refuse(RuntimeError("KeyGauge's instrumentation was not loaded; the lines above say why"))

    return closing


def _observes() -> bool:
    return os.environ.get("KEYGAUGE_MODE") == "observe"


def _is_turned_off() -> bool:
    names = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    return "keygauge" in {name.strip() for name in names}


def _refuse(error: Exception) -> NoReturn:
    """Exit the process: exceptions raised while `site` runs are only printed."""
    way_out = "" if type(error).__module__ == "keygauge.settings.settings" else _WAY_OUT
    sys.stderr.write(
        "KeyGauge refuses to serve: OpenTelemetry's setup failed, and calls would be served unchecked. "
        f"{type(error).__name__}: {error}\n{way_out}"
    )
    sys.stderr.flush()
    os._exit(1)
