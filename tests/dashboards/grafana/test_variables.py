from keygauge_dashboards.grafana.panels import HIDDEN
from keygauge_dashboards.grafana.variables import variables

EVERY = ["account", "key", "endpoint", "model", "ledger_endpoint", "ledger_model", "status", "address", "trace"]
EVERY += ["before", "job", "env", "datasource", "postgresql"]


def by_name(*names):
    return {one["name"]: one for one in variables(names)}


def test_they_come_in_the_order_of_reading_and_data_sources_last():
    assert list(by_name(*reversed(EVERY))) == EVERY
    assert by_name() == {}


def test_keys_of_a_page_without_accounts_are_picked_one_at_a_time():
    assert by_name("account", "key")["key"]["multi"]
    one = by_name("key", "owner")
    assert not one["key"]["multi"]
    assert not one["key"]["includeAll"]
    assert one["owner"]["hide"] == HIDDEN


def test_values_lead_to_the_pages_other_variables_alone():
    narrowed = by_name("key", "job", "env", "endpoint")["endpoint"]["query"]["query"]
    alone = by_name("endpoint")["endpoint"]["query"]["query"]
    assert "$key" in narrowed
    assert "$job" in narrowed
    assert "$" not in alone


def test_the_ledgers_names_are_those_that_the_visible_variable_matches():
    hidden = by_name("model", "ledger_model")["ledger_model"]
    assert hidden["regex"] == "/^(${model:regex})$/"
    assert hidden["hide"] == HIDDEN
    assert "breakdown = 'model'" in hidden["query"]
