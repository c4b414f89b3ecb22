from keygauge_dashboards.alerts.ledger import ledger_alerts
from keygauge_dashboards.alerts.prometheus import alerts
from keygauge_dashboards.catalogue import catalogue
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.thresholds import Thresholds


def test_every_panel_and_alert_is_listed_with_its_query():
    thresholds = Thresholds()
    text = catalogue(thresholds)
    for page in pages(thresholds):
        assert f"## {page.title}\n" in text
        for view in page.views():
            assert f"**{view.title}** {view.description}" in text
            for target in view.targets:
                assert getattr(target, "query", None) or target.expression in text
    for alert in [*alerts(thresholds), *ledger_alerts()]:
        assert f"../operate/runbook.md#{alert.name.lower()})" in text


def test_pipes_in_conditions_do_not_break_tables():
    rows = [line for line in catalogue(Thresholds()).splitlines() if line.startswith("| [")]
    assert rows
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}
