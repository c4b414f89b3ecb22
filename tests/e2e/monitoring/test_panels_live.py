"""The dashboards on real traffic: SDK clients, the metered API, the key service, and a Prometheus that scrapes both."""

import json
import math
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import openai
import pytest
import yaml

from keygauge_dashboards.files import GENERATED
from keygauge_dashboards.panels import Prometheus
from keygauge_dashboards.plumbing_alerts import KEY_SERVICE
from keygauge_dashboards.suite import pages
from keygauge_dashboards.thresholds import Thresholds
from keygauge_keyservice import plans

pytestmark = pytest.mark.xdist_group("e2e")

ROOT = Path(__file__).parents[3]
VARIABLES = {"__rate_interval": "10s", "__range": "1m", "job": ".*", "endpoint": ".*", "model": ".*"}
# Panels on the collector's own series; this Prometheus scrapes the services without one.
NOT_HERE = {"What does the collector lose?"}


@pytest.fixture
def prometheus(stack, tmp_path, free_port):
    """Start a Prometheus with the committed rules, hurried; return a function that asks it."""
    program = shutil.which("prometheus")
    if program is None and "CI" in os.environ:
        pytest.fail("no prometheus on this machine")
    if program is None:
        pytest.skip("no prometheus on this machine")
    rules = yaml.safe_load((ROOT / GENERATED / "prometheus/keygauge.rules.yaml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    jobs = {"demo-api": stack.port_api, KEY_SERVICE: stack.port_service}
    scrapes = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for name, port in jobs.items()
    ]
    configuration = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yaml"], "scrape_configs": scrapes}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [program, "--config.file=prometheus.yaml", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "prometheus.log").open("w") as log:
        server = subprocess.Popen([*command, "--storage.tsdb.path=data"], cwd=tmp_path, stderr=log)
    yield lambda query: _ask(f"http://127.0.0.1:{port}/api/v1/query", query)
    server.terminate()
    server.wait(30)


def test_every_panel_shows_real_traffic_and_the_key_service_is_missed_when_it_is_gone(stack, prometheus, eventually):
    limits = (
        plans.Limit(name="rpm", unit="request", amount=5, window_s=60),
        plans.Limit(name="monthly", unit="request", amount=40, period="month"),
    )
    keys, tokens = zip(stack.create_key(*limits), stack.create_key(), strict=True)
    clients = [stack.openai(token) for token in tokens]
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for client in clients:
            _call(client)
    values = {**VARIABLES, "key": "|".join(key.id for key in keys), "account": "|".join(key.account_id for key in keys)}
    empty = {
        f"{page.uid}: {view.title}"
        for page in pages(Thresholds())
        for view in page.views()
        if view.title not in NOT_HERE and not view.empty_is_fine
        for target in view.targets
        if isinstance(target, Prometheus) and not _numbers(prometheus, _fill(target.expression, values))
    }
    assert empty == set()

    firing = 'ALERTS{alertname="KeyServiceDown", alertstate="firing", severity="page"}'
    assert not prometheus(firing)
    stack.service.stop()
    eventually(lambda: len(prometheus(firing)), 1, timeout_s=20)


def _call(client):
    try:
        messages = [{"role": "user", "content": "Hello"}]
        stream = client.chat.completions.create(
            model="gpt-5.4-mini", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        for _ in stream:
            pass
    except openai.RateLimitError:
        time.sleep(0.1)


def _fill(expression, values):
    for name, value in values.items():
        expression = expression.replace(f"${name}", value)
    return expression


def _numbers(prometheus, query):
    values = [float(one["value"][1]) for one in prometheus(query)]
    return [value for value in values if not math.isnan(value)]


def _ask(url, query):
    try:
        with urllib.request.urlopen(url, data=urllib.parse.urlencode({"query": query}).encode(), timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{query}: {error.read().decode()}") from error
