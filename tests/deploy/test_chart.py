"""The Helm chart: linted, rendered with everything on and off, and compared with the settings and the image."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from keygauge_dashboards.alerts import self_monitoring

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/keygauge"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keygauge"
VERSION = re.search(r"^version=(\S+)", (ROOT / "deploy/helm/build.sh").read_text(), re.MULTILINE)[1]
OBJECTS = CACHE / "kubernetes-objects"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/kubernetes.md").read_text(), re.DOTALL)
SECRET = {"existingSecret": "keygauge"}
ALL = {
    "ingress.enabled": "true",
    "ingress.host": "keys.example.com",
    "ingress.tlsSecret": "tls",
    "autoscaling.enabled": "true",
    "networkPolicy.enabled": "true",
    "serviceMonitor.enabled": "true",
    "prometheusRule.enabled": "true",
    "dashboards.enabled": "true",
    "publicUrl": "https://keys.example.com",
    "apiUrl": "https://api.example.com/v1/models",
}


def _skip(missing):
    reason = f"{missing}: deploy/helm/build.sh builds it with Go"
    if "CI" in os.environ and os.environ.get("KEYGAUGE_HELM") != "absent":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def helm():
    """Run helm; return its output, or its error output if it fails."""
    known = (os.environ.get("KEYGAUGE_HELM"), shutil.which("helm"), str(CACHE / f"helm-{VERSION}"))
    program = next((path for path in known if path and os.access(path, os.X_OK)), None)
    if program is None:
        _skip("no helm")

    def run(command, *arguments):
        if command == "template":
            arguments = ("--kube-version=1.31.0", *arguments)  # a helm built with plain Go has no default version
        arguments = (command, *arguments)
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
        return done.stdout if done.returncode == 0 else done.stderr

    return run


@pytest.fixture(scope="module")
def check_objects():
    """Return what is wrong with YAML documents as objects of Kubernetes and the Prometheus Operator."""
    if not os.access(OBJECTS, os.X_OK):
        _skip("no program that checks objects")
    return lambda text: subprocess.run([OBJECTS], input=text, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def render(helm):
    """Render the chart with values; return its objects by kind."""

    def render(**values):
        given = [f"--set-string={name}={value}" for name, value in values.items() if value not in {"true", "false"}]
        given += [f"--set={name}={value}" for name, value in values.items() if value in {"true", "false"}]
        text = helm("template", "kg", CHART, *given)
        objects = {}
        for item in yaml.safe_load_all(text):
            if item:
                assert isinstance(item, dict), text
                objects.setdefault(item["kind"], []).append(item)
        return objects

    return render


def test_lint_passes(helm):
    told = helm("lint", "--strict", CHART, "--set=existingSecret=keygauge")
    assert "0 chart(s) failed" in told, told


def test_secrets_must_be_named(helm):
    assert "existingSecret: give the name of a Secret" in helm("template", "kg", CHART)


def test_only_required_objects_are_rendered_by_default(render):
    objects = render(**SECRET)
    assert objects.keys() == {"Deployment", "Job", "Service", "ServiceAccount", "PodDisruptionBudget"}


def test_everything_on_renders(render):
    objects = render(**SECRET, **ALL)
    assert {
        *("Deployment", "Job", "Service", "ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler"),
        *("NetworkPolicy", "Ingress", "ServiceMonitor", "PrometheusRule", "ConfigMap"),
    } == objects.keys()
    generated = ROOT / "dashboards/generated"
    assert {name for item in objects["ConfigMap"] for name in item["data"]} == {
        file.name for file in (generated / "grafana/dashboards").glob("*.json")
    }
    rules = yaml.safe_load((generated / "prometheus/keygauge.rules.yaml").read_text())
    for alert in alerts_in(rules):
        del alert["annotations"]["runbook_url"]
        alert["annotations"].pop("dashboard_url", None)
    assert objects["PrometheusRule"][0]["spec"] == rules
    assert "127.0.0.1" not in yaml.dump_all(item for items in objects.values() for item in items)
    assert "replicas" not in objects["Deployment"][0]["spec"]  # set by the autoscaler


@pytest.mark.parametrize("values", [{}, ALL], ids=["least", "all"])
def test_objects_have_only_fields_that_kubernetes_knows(helm, check_objects, values):
    given = [f"--set={name}={value}" for name, value in {**SECRET, **values}.items()]
    assert check_objects(helm("template", "kg", CHART, *given)) == ""
    (pod_monitor,) = [text for text in EXAMPLES if "PodMonitor" in text]
    assert check_objects(pod_monitor) == ""
    assert 'unknown field "spec.selektor"' in check_objects(pod_monitor.replace("selector", "selektor"))


def alerts_in(rules):
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def test_alerts_find_the_key_service_and_link_to_your_grafana(render):
    links = {
        "prometheusRule.grafanaUrl": "https://grafana.acme.com/",
        "prometheusRule.runbookUrl": "https://acme.com/r",
    }
    objects = render(**SECRET, **ALL, **links)
    (endpoint,) = objects["ServiceMonitor"][0]["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": self_monitoring.KEY_SERVICE}]
    alerts = alerts_in(objects["PrometheusRule"][0]["spec"])
    assert alerts
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"https://acme.com/r#{alert['alert'].lower()}"
        assert alert["annotations"]["dashboard_url"].startswith("https://grafana.acme.com/d/")
    assert "https://acme.com/r#" in "".join(text for item in objects["ConfigMap"] for text in item["data"].values())


def test_pods_run_unprivileged_on_a_read_only_disk(render):
    objects = render(**SECRET)
    for item in (*objects["Deployment"], *objects["Job"]):
        pod = item["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            security = container["securityContext"]
            assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
            assert security["capabilities"] == {"drop": ["ALL"]}
    uid = re.search(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    assert objects["Deployment"][0]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(uid)


def test_migrations_run_before_the_pods(render):
    (job,) = render(**SECRET)["Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["keygauge", "migrate"]


def settings(objects):
    """The settings of the key service's container by name, those that are no secrets."""
    (deployment,) = objects["Deployment"]
    items = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {item["name"]: item["value"] for item in items if "value" in item}


def test_the_ingress_is_known_as_proxy_and_as_public_address(render):
    ingress = SECRET | {"ingress.enabled": "true", "ingress.host": "keys.example.com"}
    alone, plain = settings(render(**SECRET)), settings(render(**ingress))
    encrypted = settings(render(**ingress, **{"ingress.tlsSecret": "tls"}))
    chosen = settings(render(**ingress, proxies="0", publicUrl="https://keys.acme.com"))
    assert (alone["KEYGAUGE_PROXIES"], alone.get("KEYGAUGE_PUBLIC_URL")) == ("0", None)
    assert (plain["KEYGAUGE_PROXIES"], plain["KEYGAUGE_PUBLIC_URL"]) == ("1", "http://keys.example.com")
    assert encrypted["KEYGAUGE_PUBLIC_URL"] == "https://keys.example.com"
    assert (chosen["KEYGAUGE_PROXIES"], chosen["KEYGAUGE_PUBLIC_URL"]) == ("0", "https://keys.acme.com")


def test_migrations_run_where_and_with_what_the_pods_do(render):
    given = {
        "nodeSelector.disk": "ssd",
        "tolerations[0].key": "keys",
        "env[0].name": "PGSSLROOTCERT",
        "env[0].value": "/ca",
    }
    objects = render(**SECRET, **given)
    job, deployment = (objects[kind][0]["spec"]["template"]["spec"] for kind in ("Job", "Deployment"))
    for pod in (job, deployment):
        assert (pod["nodeSelector"], pod["tolerations"]) == ({"disk": "ssd"}, [{"key": "keys"}])
        assert {"name": "PGSSLROOTCERT", "value": "/ca"} in pod["containers"][0]["env"]


def test_secrets_are_references_and_settings_exist(render):
    documented = (ROOT / "docs/reference/settings.md").read_text()
    (deployment,) = render(**SECRET, **ALL)["Deployment"]
    environ = {item["name"]: item for item in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert [name for name in environ if f"`{name}`" not in documented] == []
    for name in ("DATABASE_URL", "SERVICE_TOKEN", "ADMIN_TOKEN", "PEPPER"):
        assert "value" not in environ[f"KEYGAUGE_{name}"]
        assert environ[f"KEYGAUGE_{name}"]["valueFrom"]["secretKeyRef"]["name"] == "keygauge"


def test_templates_use_all_values_and_no_others():
    text = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    read = set(re.findall(r"\.Values\.([A-Za-z0-9_.]+)", text))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    missing = {path for path in read if not has(values, path.split("."))}
    assert missing == set()
    assert {name for name in values if not any(path.split(".")[0] == name for path in read)} == set()


def has(values, path):
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def test_the_version_matches_the_distributions():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.+)"', (ROOT / "keyservice/pyproject.toml").read_text(), re.MULTILINE)[1]
    assert chart["appVersion"] == chart["version"] == version
