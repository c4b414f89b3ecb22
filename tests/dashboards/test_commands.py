import re

import pytest

from keygauge.command_line.command import CommandError
from keygauge_dashboards.commands import dashboards


@pytest.fixture
def run():
    def run(*words):
        return dashboards.main([*map(str, words)], standalone_mode=False) or 0

    return run


def test_check_fails_until_the_files_are_built(run, tmp_path, capsys):
    assert run("check", "--folder", tmp_path) == 1
    assert "keygauge-overview.json is stale" in capsys.readouterr().err
    assert run("build", "--folder", tmp_path) == 0
    assert "keygauge-overview.json" in capsys.readouterr().out
    assert run("check", "--folder", tmp_path) == 0


def test_check_fails_when_a_file_was_edited(run, tmp_path):
    run("build", "--folder", tmp_path)
    with (tmp_path / "docs/reference/dashboards.md").open("a") as page:
        page.write("my own words")
    assert run("check", "--folder", tmp_path) == 1


def test_custom_thresholds_apply_to_rules_and_dashboards(run, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("limited_requests: 77\nquota_levels: [0.6, 1.0]\n")
    run("build", "--folder", tmp_path, "--thresholds", own)
    rules = (tmp_path / "dashboards/generated/prometheus/keygauge.rules.yaml").read_text()
    assert "> 77" in rules
    assert "level: 60%" in rules
    assert "level: 50%" not in rules
    assert run("check", "--folder", tmp_path, "--thresholds", own) == 0
    assert run("check", "--folder", tmp_path) == 1


def test_custom_burns_replace_the_defaults(run, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("burns: [{severity: page, short: 10m, long: 2h, factor: 7, hold: 5m}]")
    run("build", "--folder", tmp_path, "--thresholds", own)
    rules = (tmp_path / "dashboards/generated/prometheus/keygauge.rules.yaml").read_text()
    assert set(re.findall(r"window: (\w+)", rules)) == {"2h"}
    page = (tmp_path / "docs/reference/dashboards.md").read_text()
    assert "failed:ratio_rate2h" in page
    assert "ratio_rate3d" not in page


def test_alerts_link_to_a_custom_runbook(run, tmp_path):
    run("build", "--folder", tmp_path, "--runbook", "https://wiki.example/keygauge")
    for path in ("prometheus/keygauge.rules.yaml", "grafana/provisioning/alerting/keygauge.yaml"):
        links = re.findall("runbook_url: (.+)#", (tmp_path / "dashboards/generated" / path).read_text())
        assert set(links) == {"https://wiki.example/keygauge"}


@pytest.mark.parametrize(
    "text",
    [
        "limited: 3",
        "limited_requests: many",
        "limited_requests: -1",
        "quota_levels: []",
        "quota_levels: [a]",
        "quota_levels: [1.0, 0.9]",
        "expiry_days: [3, 14]",
        "availability_objective: 99.5",
        "availability_objective: 1",
        "slow_s: 3",
        "slow_s: .nan",
        "- 1",
        "[",
        "burns: 1",
        "burns: []",
        "burns: [{severity: page}]",
        "burns: [{severity: loud, short: 5m, long: 1h, factor: 2, hold: 1m}]",
        "burns: [{severity: page, short: 5 minutes, long: 1h, factor: 2, hold: 1m}]",
        "burns: [{severity: page, short: 5m, long: 1h, factor: 0, hold: 1m}]",
    ],
)
def test_invalid_thresholds_are_refused(run, tmp_path, text):
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(CommandError, match="thresholds: "):
        run("build", "--folder", tmp_path, "--thresholds", own)


def test_missing_thresholds_file_is_named(run, tmp_path):
    with pytest.raises(CommandError, match=r"no\.yaml cannot be read"):
        run("build", "--folder", tmp_path, "--thresholds", tmp_path / "no.yaml")


def test_alerts_link_to_a_custom_grafana_and_have_a_custom_owner(run, tmp_path):
    run("build", "--folder", tmp_path, "--grafana", "https://grafana.example/", "--owner", "platform")
    rules = (tmp_path / "dashboards/generated/prometheus/keygauge.rules.yaml").read_text()
    assert "dashboard_url: https://grafana.example/d/keygauge-key?" in rules
    assert set(re.findall(r"owner: (\w+)", rules)) == {"platform"}


@pytest.mark.parametrize("option", ["--runbook", "--grafana"])
def test_incomplete_url_is_refused(run, tmp_path, option):
    with pytest.raises(CommandError, match="use an address in full"):
        run("build", "--folder", tmp_path, option, "docs/runbook.md")
