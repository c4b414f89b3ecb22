"""The hand-written files in collector/: their programs accept them, and they agree with the generated files."""

import json
import re

import pytest
import yaml

from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.generate import GENERATED
from keygauge_dashboards.promql.queries import ENV
from keygauge_dashboards.provisioning import EVALUATION_INTERVAL, SCRAPE_INTERVAL
from keygauge_dashboards.thresholds import Thresholds

CONFIGURATIONS = ("config.yaml", "forward.yaml", "remote-write.yaml")


def _load(path):
    return yaml.safe_load(path.read_text())


def test_prometheus_accepts_its_configuration_with_the_rules(run, root, tmp_path):
    configuration = (root / "collector/prometheus.yaml").read_text()
    (tmp_path / "rules").symlink_to(root / GENERATED / "prometheus")
    (tmp_path / "service_token").write_text("made-up")
    for folder in ("/etc/prometheus", "/run/secrets"):
        configuration = configuration.replace(folder, str(tmp_path))
    local = tmp_path / "prometheus.yaml"
    local.write_text(configuration)
    assert re.search(r"\d\d rules found", run("promtool", "check", "config", local))


def test_prometheus_accepts_its_configuration_on_plain_hosts(run, root, tmp_path):
    (configuration,) = re.findall(r"```yaml\n(.*?)```", (root / "docs/how-to/systemd.md").read_text(), re.DOTALL)
    (tmp_path / "keygauge.rules.yaml").symlink_to(root / GENERATED / "prometheus/keygauge.rules.yaml")
    (tmp_path / "keygauge.token").write_text("made-up")
    local = tmp_path / "prometheus.yaml"
    local.write_text(configuration.replace("/etc/prometheus", str(tmp_path)))
    assert re.search(r"\d\d rules found", run("promtool", "check", "config", local))
    assert _load(local)["global"] == _load(root / "collector/prometheus.yaml")["global"]


def test_intervals_match_grafana_and_the_rules(root):
    configuration = _load(root / "collector/prometheus.yaml")["global"]
    assert configuration == {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": EVALUATION_INTERVAL}


def test_exemplars_link_to_their_call(root):
    sources = _load(root / GENERATED / "grafana/provisioning/datasources/keygauge.yaml")["datasources"]
    [destination] = next(source for source in sources if source["type"] == "prometheus")["jsonData"][
        "exemplarTraceIdDestinations"
    ]
    uid, variable = re.fullmatch(r"/d/([\w-]+)\?.*&var-(\w+)=\$\$\{__value\.raw\}", destination["url"]).groups()
    page = next(page for page in pages(Thresholds()) if page.uid == uid)
    assert variable in {item["name"] for item in page.variables}
    assert destination["name"] == "trace_id"  # the name used by OpenTelemetry's exporters


def test_alertmanager_accepts_its_configuration(run, root):
    run("amtool", "check-config", root / "collector/alertmanager.yaml")


@pytest.mark.parametrize(("severity", "receiver"), [("page", "pager"), ("ticket", "tickets")])
def test_alerts_reach_their_receiver(run, root, severity, receiver):
    labels = [SOURCE.replace('"', ""), f"severity={severity}", "alertname=KeyRateLimited"]
    configuration = f"--config.file={root / 'collector/alertmanager.yaml'}"
    run("amtool", "config", "routes", "test", configuration, f"--verify.receivers={receiver}", *labels)


def test_foreign_alerts_are_not_routed(run, root):
    configuration = f"--config.file={root / 'collector/alertmanager.yaml'}"
    run("amtool", "config", "routes", "test", configuration, "--verify.receivers=nobody", "severity=page")


def test_messages_state_the_problem_and_what_to_do(message):
    texts = {"description": "much", "impact": "bad.", "dashboard_url": "d?x", "runbook_url": "r#x"}
    alerts = [{"status": "firing", "annotations": {"summary": f"{name} burns", **texts}} for name in ("one", "two")]
    group = {"alertname": "ErrorBudgetBurn", "job": "api", ENV: "live"}
    title, text = message({"alerts": alerts, "groupLabels": group, "commonLabels": {"severity": "page"}})
    assert title == "[page] ErrorBudgetBurn of api (live) (2)"
    rest = "burns\nmuch\nImpact: bad.\nDashboard: d?x\nRunbook: r#x"
    assert text == f"one {rest}\n\ntwo {rest}"


def test_names_are_not_links_or_mentions_in_messages(message):
    """Customers name their keys; Slack would show a link with any text, or notify everyone in the channel."""
    name = "Key <https://x.example|Open dashboard> <!channel> (a & b)"
    annotations = dict.fromkeys(("summary", "description"), name)
    _title, text = message({"alerts": [{"annotations": annotations}], "groupLabels": {}, "commonLabels": {}})
    assert "<" not in text.replace("<no value>", "")
    assert text.count(name.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")) == 2


@pytest.fixture
def message(run, root, tmp_path):
    """Return `message(data)`, which renders a notification of firing alerts and returns its title and text."""

    def render(data):
        (tmp_path / "data.json").write_text(json.dumps({"status": "firing", **data}))
        return [
            run(
                "amtool",
                "template",
                "render",
                f"--template.glob={root / 'collector/keygauge.tmpl'}",
                f'--template.text={{{{ template "keygauge.{part}" . }}}}',
                f"--template.data={tmp_path / 'data.json'}",
            ).strip()
            for part in ("title", "text")
        ]

    return render


def test_a_page_of_staging_does_not_hide_a_ticket_of_the_live_service(root):
    configuration = _load(root / "collector/alertmanager.yaml")
    assert ENV in configuration["inhibit_rules"][0]["equal"]
    assert ENV in configuration["route"]["group_by"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_memory_limiter_is_the_first_processor(root, name):
    pipelines = _load(root / "collector" / name)["service"]["pipelines"]
    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in pipelines.values())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_batch_processor_is_used(root, name):
    """The batch processor is deprecated: it loses its data when the collector stops."""
    assert "batch" not in _load(root / "collector" / name)["processors"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_built_collector_has_every_configured_component(root, name):
    modules = [part["gomod"] for kind in _builder(root) for part in kind]
    built = {module.split(" ")[0].rsplit("/", 1)[1] for module in modules}
    configuration = _load(root / "collector" / name)
    for kind in ("receivers", "processors", "exporters", "extensions"):
        for part in configuration[kind]:
            folder = part.split("/")[0].replace("_", "") + kind.removesuffix("s")
            assert any(folder.startswith(module) for module in built), part


def _builder(root):
    builder = _load(root / "collector/builder.yaml")
    return [builder[kind] for kind in ("receivers", "processors", "exporters", "extensions")]
