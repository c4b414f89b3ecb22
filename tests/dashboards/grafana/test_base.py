import re

import pytest

from keygauge_dashboards.grafana import base
from keygauge_dashboards.grafana.panels import Section, Sql, View
from keygauge_dashboards.uids import HEALTH_PAGE, KEY_PAGE, KEYS_PAGE, LOG_PAGE, OVERVIEW

VIEW = View("stat", "Cost", "What does it cost?", [base.ledger("SELECT 1 WHERE {picked}")], "currencyUSD", 8, 4)


def make(uid, view=VIEW):
    (made,) = base.dashboard(uid, "Title", "What?", [Section("Now", [view])]).views()
    return made


def url(uid, view):
    return make(uid, view).defaults["links"][0]["url"]


def test_a_link_keeps_what_both_dashboards_can_pick_and_nothing_twice():
    told = url(OVERVIEW, base.drill(VIEW, "Open", KEY_PAGE, key=base.cell("id")))
    assert told.startswith(f"/d/{KEY_PAGE}?${{__url_time_range}}")
    kept = re.findall(r"\$\{(\w+):queryparam\}", told)
    assert kept == ["endpoint", "model", "job", "env", "datasource", "postgresql"]
    assert told.endswith("&var-key=${__data.fields.id:percentencode}")
    other = url(HEALTH_PAGE, base.drill(VIEW, "Open", KEYS_PAGE))
    assert re.findall(r"\$\{(\w+):queryparam\}", other) == ["datasource", "postgresql"]


def test_on_the_page_of_one_key_accounts_are_its_owner():
    (target,) = make(KEY_PAGE).targets
    assert "${owner:sqlstring}" in target.query
    assert "account:sqlstring" not in target.query
    assert "${account:sqlstring}" in make(OVERVIEW).targets[0].query


def test_what_comes_from_the_ledger_says_so_where_a_service_can_be_picked():
    assert make(OVERVIEW).description.endswith("knows no service and no environment.")
    assert make(LOG_PAGE).description == VIEW.description


@pytest.mark.parametrize("over_time", [True, False])
def test_a_query_has_no_placeholders_left(over_time):
    names = ("accounts", "keys", "picked", "picked_calls", "usage_by_model", "usage_by_endpoint", "first", "lists")
    query = base.ledger(" ".join(f"{{{name}}}" for name in (*names, "status_class", "own")), over_time=over_time, own=5)
    assert isinstance(query, Sql)
    assert not re.search(r"(?<!\$)\{", query.query)
    assert query.query.endswith("5")
    assert ("$__interval" in query.query) == over_time


def test_labels_and_cells_are_encoded_where_they_get_into_an_address():
    for text in (base.of_label("http.route"), base.cell("name"), base.SERIES, base.VALUE):
        assert text.endswith(":percentencode}")
    assert "http_route" in base.of_label("http.route")
