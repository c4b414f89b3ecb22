import pytest
import yaml

from keygauge_dashboards import provisioning
from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.alerts.ledger import ledger_alerts
from keygauge_dashboards.alerts.prometheus import alerts, records
from keygauge_dashboards.thresholds import Thresholds

LINKS = Links(grafana="https://grafana.example", runbook="https://docs.example/runbook", owner="platform")


@pytest.fixture
def groups():
    return {one["name"]: one for one in yaml.safe_load(provisioning.rules(Thresholds(), LINKS))["groups"]}


def test_every_alert_and_record_is_exactly_one_rule(groups):
    thresholds = Thresholds()
    names = [rule["alert"] for rule in groups["keygauge-alerts"]["rules"]]
    assert names == [alert.name for alert in alerts(thresholds)]
    recorded = [rule["record"] for name in ("records", "slow-records") for rule in groups[f"keygauge-{name}"]["rules"]]
    assert sorted(recorded) == sorted(record.name for record in records(thresholds))


def test_alerts_link_to_a_custom_grafana_and_runbook_and_have_an_owner_label(groups):
    for rule in groups["keygauge-alerts"]["rules"]:
        assert rule["labels"]["owner"] == "platform"
        assert rule["labels"]["source"] == "keygauge"
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert rule["annotations"]["dashboard_url"].startswith("https://grafana.example/d/")
        assert rule["annotations"]["runbook_url"] == f"https://docs.example/runbook#{rule['alert'].lower()}"
        assert all(rule["annotations"].values())


def test_ledger_rules_match_the_alerts_and_are_ok_without_rows():
    (group,) = yaml.safe_load(provisioning.ledger_rules(LINKS))["groups"]
    assert [rule["title"] for rule in group["rules"]] == [alert.name for alert in ledger_alerts()]
    assert len({rule["uid"] for rule in group["rules"]}) == len(group["rules"])
    for rule in group["rules"]:
        assert (rule["noDataState"], rule["condition"], rule["labels"]["owner"]) == ("OK", "B", "platform")
        assert "$" not in rule["labels"]["severity"]


def test_data_sources_have_the_uids_used_in_rules_and_no_password():
    text = provisioning.data_sources()
    prometheus, postgresql = yaml.safe_load(text)["datasources"]
    assert postgresql["uid"] == provisioning.DATA_SOURCE
    assert postgresql["secureJsonData"]["password"].startswith("$KEYGAUGE_")
    (exemplar,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert "$${__value.raw}" in exemplar["url"]
    (folder,) = yaml.safe_load(provisioning.dashboard_folder())["providers"]
    assert folder["options"]["path"] == provisioning.DASHBOARDS_PATH
