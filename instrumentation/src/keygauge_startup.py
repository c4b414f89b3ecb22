"""Zero code fails closed: where `opentelemetry-instrument` does not bring KeyGauge up, nothing is served.

OpenTelemetry logs what goes wrong in its set-up (an exporter that is not installed, another instrumentation that fails)
and serves all the same, without what it had not loaded by then. `keygauge.pth` imports this module at the interpreter's
start, so it needs nothing of the package, which may be what fails.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

_SETUP = "opentelemetry.instrumentation.auto_instrumentation"
_WAY_OUT = """To mend it, do one of these:
- install the exporters that OpenTelemetry is told to use: pip install 'opentelemetry-distro[otlp]'
- use none: OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none
- add the middleware in code, and set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=keygauge
- refuse no call: KEYGAUGE_MODE=observe
"""


def watch() -> None:
    """See to it that OpenTelemetry's set-up, should it run in this process, brings KeyGauge up."""
    if os.environ.get("KEYGAUGE_MODE") == "observe" or _is_turned_off():
        return
    try:
        from wrapt import register_post_import_hook  # noqa: PLC0415 - only for those who use it
    except ImportError as error:
        if _SETUP.replace(".", os.sep) in os.environ.get("PYTHONPATH", ""):
            _refuse(error)
        return
    register_post_import_hook(_guard, _SETUP)


def _guard(setup: Any) -> None:
    setup.initialize = _closing(setup.initialize)


def _closing(initialize: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(initialize)
    def closing(**options: Any) -> None:
        try:
            initialize(**{**options, "swallow_exceptions": False})
        except Exception as error:  # noqa: BLE001 - whatever it is, KeyGauge may not be up
            _refuse(error)
        instrumentor: Any = sys.modules.get("keygauge.instrumentor")
        if instrumentor is None or not instrumentor.KeyGaugeInstrumentor.is_on:
            _refuse(RuntimeError("KeyGauge's instrumentation was not loaded, the lines above say why"))

    return closing


def _is_turned_off() -> bool:
    names = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    return "keygauge" in {name.strip() for name in names}


def _refuse(error: Exception) -> NoReturn:
    """End the process: what is raised while `site` runs would be printed and passed over."""
    way_out = "" if type(error).__module__ == "keygauge.settings" else _WAY_OUT
    sys.stderr.write(
        "KeyGauge refuses to serve: the set-up by OpenTelemetry failed, and calls would be served without a check. "
        f"{type(error).__name__}: {error}\n{way_out}"
    )
    sys.stderr.flush()
    os._exit(1)
