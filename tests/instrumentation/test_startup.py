"""The OpenTelemetry export settings of zero-code startup, by installed exporters and given environment."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

SOURCE = Path(__file__).parents[2] / "instrumentation/src/keygauge_startup.py"  # the virtual environment has a copy

HTTP, GRPC = {"console", "otlp_proto_http"}, {"console", "otlp_proto_http", "otlp_proto_grpc"}
NAMES = [f"OTEL_{signal}_EXPORTER" for signal in ("TRACES", "METRICS", "LOGS")]
NONE = dict.fromkeys(NAMES, "none")
OVER_HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


@pytest.mark.parametrize(
    ("installed", "given", "expected"),
    [
        ({"console"}, {}, NONE),
        ({"console", "prometheus"}, {}, NONE),
        (set(), {"OTEL_TRACES_EXPORTER": "otlp"}, {**NONE, "OTEL_TRACES_EXPORTER": "otlp"}),
        (set(), {"OTEL_CONFIG_FILE": "otel.yaml"}, {"OTEL_CONFIG_FILE": "otel.yaml"}),
        (HTTP, {}, OVER_HTTP),
        (HTTP, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
        (GRPC, {}, {}),
        ({"console", "of_a_vendor"}, {}, {}),
    ],
)
def test_export_defaults_depend_on_installed_exporters(monkeypatch, installed, given, expected):
    environ = dict(given)
    monkeypatch.setattr("os.environ", environ)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: SimpleNamespace(names=installed))
    runpy.run_path(str(SOURCE))["_export_by_what_is_there"]()
    assert environ == expected
