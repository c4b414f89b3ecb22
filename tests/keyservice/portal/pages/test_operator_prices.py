import pytest

from keygauge_keyservice.pricing import own_prices


def test_operator_sets_prices(connection, operating):
    form = {"model": "House-Model", "input": "0.50", "output": "2", "provider": "", "account": "", "cache_read": ""}
    answer = operating.post("/operator/prices", form, page="/operator/prices")
    assert answer.status_code == 303
    (price,) = own_prices.list_prices(connection)
    assert (price.model, price.tiers[0].input, price.tiers[0].output) == ("house-model", 5 * 10**8, 2 * 10**9)
    assert price.tiers[0].cache_read == price.tiers[0].input
    page = operating.get(answer.location).text
    assert "$0.50<" in page
    assert operating.get("/operator/prices.json").json["prices"][0]["model"] == "house-model"


def test_prices_are_in_the_format_of_the_person(connection, operating):
    form = operating.hidden("/operator/prices") | {"model": "m", "input": "0,075", "output": "1.000"}
    assert operating.client.post("/operator/prices", data=form, headers={"Accept-Language": "de"}).status_code == 303
    assert own_prices.list_prices(connection)[0].tiers[0].output == 1000 * 10**9


@pytest.mark.parametrize(
    "wrong",
    [{"model": ""}, {"input": "free"}, {"input": "-1"}, {"output": "1e999999"}, {"output": "NaN"}, {"model": "a\nb"}],
)
def test_invalid_price_is_rejected(connection, operating, wrong):
    form = {"model": "m", "input": "1", "output": "2"} | wrong
    answer = operating.post("/operator/prices", form, page="/operator/prices")
    assert (answer.status_code, "Price not saved" in answer.text) == (422, True)
    assert own_prices.list_prices(connection) == []
    (field,) = wrong
    assert f'id="{field}-error" role="alert">must ' in answer.text
    assert "1000000000000" not in answer.text


def test_price_for_an_unknown_account_is_rejected(operating):
    form = {"model": "m", "input": "1", "output": "2", "account": "nobody"}
    assert operating.post("/operator/prices", form, page="/operator/prices").status_code == 404


@pytest.mark.parametrize("table", ["accounts", "keys", "plans", "prices"])
def test_operator_tables_are_available_as_csv_and_json(operating, customer, table):
    found = operating.get(f"/operator/{table}.json").json[table]
    assert operating.get(f"/operator/{table}.csv").text.count("\n") == len(found) + 1
    assert operating.get(f"/operator/{table}.json?q=%25").status_code == 200
    assert operating.get("/operator/secrets.json").status_code == 404
