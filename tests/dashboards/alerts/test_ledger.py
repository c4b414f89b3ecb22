"""The alerts that Grafana evaluates: their queries on real rows, and the format that Grafana's loader expects."""

import re
import uuid

import psycopg
import pytest
import yaml

from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.alerts.ledger import ledger_alerts
from keygauge_dashboards.generate import GENERATED
from keygauge_dashboards.provisioning import ledger_rules

INSERT = """
INSERT INTO event (id, time, account_id, key_id, route, method, status, ip, duration_us, request_bytes, response_bytes,
    usage_status, outcome)
VALUES (%s, now() - %s::interval, 'a1', %s, '/v1', 'POST', 200, %s, 1, 1, 1, 'none', 'admitted')
"""
KNOWN = """
INSERT INTO plan (id, name) VALUES ('free', 'Free');
INSERT INTO account (id, name, plan_id) VALUES ('a1', 'Ada', 'free');
INSERT INTO key (id, account_id, name) SELECT id, 'a1', 'the ' || id FROM unnest(ARRAY['known', 'moved', 'new']) AS id;
INSERT INTO rollup_recent
SELECT now() - interval '3 days', 'a1', key, '/v1', '', 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1e12
FROM unnest(ARRAY['known', 'moved']) AS key;
INSERT INTO usage_aggregate SELECT * FROM usage_aggregate_of_rollups('-infinity', 'infinity', '{7200}')
"""


@pytest.fixture
def ledger(connection):
    connection.execute("CREATE TABLE event_rest PARTITION OF event DEFAULT")
    connection.execute(KNOWN)
    return connection


def _call(ledger, key, ip, ago):
    ledger.execute(INSERT, (uuid.uuid4(), ago, key, ip))


def _rows(ledger, name):
    alert = next(alert for alert in ledger_alerts() if alert.name == name)
    ledger.execute("SET ROLE keygauge_grafana")
    return alert, ledger.execute(alert.query).fetchall()


def test_new_client_ip_fires_on_a_new_address_of_a_known_key(ledger):
    _call(ledger, "moved", "192.0.2.1", "2 days")
    _call(ledger, "moved", "192.0.2.9", "1 minute")
    _call(ledger, "moved", "192.0.2.9", "2 minutes")
    alert, rows = _rows(ledger, "NewClientIP")
    names = {"name": "the moved", "account_name": "Ada"}
    assert rows == [{"account": "a1", "key": "moved", **names, "ip": "192.0.2.9", "requests": 2}]
    assert tuple(name for name in rows[0] if isinstance(rows[0][name], str)) == alert.labels


def test_new_client_ip_is_silent_on_known_addresses_and_new_keys(ledger):
    _call(ledger, "known", "192.0.2.1", "2 days")
    _call(ledger, "known", "192.0.2.1", "1 minute")
    _call(ledger, "new", "192.0.2.2", "1 minute")
    assert _rows(ledger, "NewClientIP")[1] == []


def test_rules_are_flat_as_the_loader_expects(root):
    content = yaml.safe_load((root / GENERATED / "grafana/provisioning/alerting/keygauge.yaml").read_text())
    rules = [rule for group in content["groups"] for rule in group["rules"]]
    assert [rule["title"] for rule in rules] == [alert.name for alert in ledger_alerts()]
    for rule in rules:
        assert len(rule["uid"]) <= 40
        assert {"uid", "title", "condition", "data", "noDataState", "execErrState", "for"} <= set(rule)
        references = [query["refId"] for query in rule["data"]]
        assert rule["condition"] == references[-1]
        assert all(isinstance(query["datasourceUid"], str) for query in rule["data"])
        assert rule["data"][-1]["model"]["expression"] == references[0]


def test_templates_survive_the_loader():
    """Grafana leaves annotations unchanged but expands $NAME in labels, which therefore have none."""
    for group in yaml.safe_load(ledger_rules(Links()))["groups"]:
        for rule in group["rules"]:
            written = " ".join(rule["annotations"].values())
            assert re.findall(r"\{\{ (\S+) \}\}", written)
            assert "$$" not in written
            assert "$" not in "".join(rule["labels"].values())


def test_messages_only_use_labels_of_the_rows():
    for alert in ledger_alerts():
        used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        assert used <= set(alert.labels)


def test_queries_only_read_views(ledger):
    ledger.execute("SET ROLE keygauge_grafana")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ledger.execute("SELECT * FROM public.event")
    for alert in ledger_alerts():
        assert set(re.findall(r"FROM (\w+)\.", alert.query)) == {"grafana"}
