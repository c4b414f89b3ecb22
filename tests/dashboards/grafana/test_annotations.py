from keygauge_dashboards.grafana.annotations import annotation_list
from keygauge_dashboards.grafana.panels import POSTGRESQL, PROMETHEUS
from keygauge_dashboards.grafana.variables import ACCOUNTS


def test_changes_are_only_annotated_if_accounts_can_be_selected():
    names = {of: [one["name"] for one in annotation_list("a=1", of_accounts=of)] for of in (True, False)}
    assert names == {
        True: ["Deploys and restarts", "Keys and limits", "Pages"],
        False: ["Deploys and restarts", "Pages"],
    }


def test_queries_are_limited_to_selected_accounts_and_keygauge_alerts():
    starts, changes, pages = annotation_list('source="keygauge"', of_accounts=True)
    assert ACCOUNTS in changes["target"]["rawSql"]
    assert "{accounts}" not in changes["target"]["rawSql"]
    assert 'source="keygauge"' in pages["target"]["expr"]
    assert [one["datasource"] for one in (starts, changes, pages)] == [POSTGRESQL, POSTGRESQL, PROMETHEUS]
    assert [one["enable"] for one in (starts, changes, pages)] == [True, True, False]
