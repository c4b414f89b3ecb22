import re

import pytest

from keygauge_dashboards.grafana import base
from keygauge_dashboards.grafana.panels import Section, Sql, View
from keygauge_dashboards.uids import HEALTH_PAGE, KEY_PAGE, KEYS_PAGE, LOG_PAGE, OVERVIEW

VIEW = View("stat", "Cost", "What does it cost?", [base.ledger("SELECT 1 WHERE {selected}")], "currencyUSD", 8, 4)


def make(uid, view=VIEW):
    (made,) = base.dashboard(uid, "Title", "What?", [Section("Now", [view])]).views()
    return made


def url(uid, view):
    return make(uid, view).defaults["links"][0]["url"]


def test_links_keep_variables_of_both_dashboards_without_duplicates():
    link = url(OVERVIEW, base.drill(VIEW, "Open", KEY_PAGE, key=base.cell("id")))
    assert link.startswith(f"/d/{KEY_PAGE}?${{__url_time_range}}")
    kept = re.findall(r"\$\{(\w+):queryparam\}", link)
    assert kept == ["endpoint", "model", "job", "env", "datasource", "postgresql"]
    assert link.endswith("&var-key=${__data.fields.id:percentencode}")
    other = url(HEALTH_PAGE, base.drill(VIEW, "Open", KEYS_PAGE))
    assert re.findall(r"\$\{(\w+):queryparam\}", other) == ["datasource", "postgresql"]


def test_account_on_the_key_page_is_the_owner():
    (target,) = make(KEY_PAGE).targets
    assert "${owner:sqlstring}" in target.query
    assert "account:sqlstring" not in target.query
    assert "${account:sqlstring}" in make(OVERVIEW).targets[0].query


def test_ledger_panels_say_so_if_a_service_can_be_selected():
    assert make(OVERVIEW).description.endswith("not filtered by service or environment.")
    assert make(LOG_PAGE).description == VIEW.description


@pytest.mark.parametrize("over_time", [True, False])
def test_a_query_has_no_placeholders_left(over_time):
    names = ("accounts", "keys", "selected", "selected_calls", "usage_by_model", "usage_by_endpoint", "first", "lists")
    query = base.ledger(" ".join(f"{{{name}}}" for name in (*names, "status_class", "own")), over_time=over_time, own=5)
    assert isinstance(query, Sql)
    assert not re.search(r"(?<!\$)\{", query.query)
    assert query.query.endswith("5")
    assert ("$__interval" in query.query) == over_time


def test_labels_and_cells_are_encoded_in_urls():
    for text in (base.of_label("http.route"), base.cell("name"), base.SERIES, base.VALUE):
        assert text.endswith(":percentencode}")
    assert "http_route" in base.of_label("http.route")
