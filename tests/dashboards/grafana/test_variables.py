from keygauge_dashboards.grafana.panels import HIDDEN
from keygauge_dashboards.grafana.variables import variables

EVERY = ["account", "key", "endpoint", "model", "ledger_endpoint", "ledger_model", "status", "address", "trace"]
EVERY += ["before", "job", "env", "datasource", "postgresql"]


def by_name(*names):
    return {one["name"]: one for one in variables(names)}


def test_variables_are_in_reading_order_with_data_sources_last():
    assert list(by_name(*reversed(EVERY))) == EVERY
    assert by_name() == {}


def test_pages_without_accounts_select_a_single_key():
    assert by_name("account", "key")["key"]["multi"]
    one = by_name("key", "owner")
    assert not one["key"]["multi"]
    assert not one["key"]["includeAll"]
    assert one["owner"]["hide"] == HIDDEN


def test_pages_without_metrics_offer_every_stored_key_and_account():
    for one in variables(("account", "key"), only_sql=True):
        assert one["datasource"]["uid"] == "${postgresql}"
        assert one["allValue"] == "''"
    (endpoint,) = (one for one in variables(("key", "endpoint"), only_sql=True) if one["name"] == "endpoint")
    assert "$key" not in endpoint["query"]["query"]  # in PromQL, "All" would match nothing


def test_values_are_filtered_only_by_variables_of_the_page():
    narrowed = by_name("key", "job", "env", "endpoint")["endpoint"]["query"]["query"]
    alone = by_name("endpoint")["endpoint"]["query"]["query"]
    assert "$key" in narrowed
    assert "$job" in narrowed
    assert "$" not in alone


def test_hidden_variables_have_the_ledgers_names_matched_by_the_visible_one():
    hidden = by_name("model", "ledger_model")["ledger_model"]
    assert hidden["regex"] == "/^(${model:regex})$/"
    assert hidden["hide"] == HIDDEN
    assert "breakdown = 'model'" in hidden["query"]
