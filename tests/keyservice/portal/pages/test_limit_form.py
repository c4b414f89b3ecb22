from datetime import date

import pytest

from keygauge.weights import Weights
from keygauge_keyservice.keys import key_limits
from keygauge_keyservice.limits.definitions import Limit


@pytest.fixture
def post(signed_in, customer):
    """`post(*rows, **others)` submits the form with rows of (amount, unit, per) and other fields."""

    def post(*rows, **others):
        address = f"/keys/{customer.key.id}"
        form = dict(others)
        for number, row in enumerate(rows):
            form |= {f"{field}-{number}": text for field, text in zip(("amount", "unit", "per"), row, strict=True)}
        return signed_in.post(f"{address}/limits", form, page=address)

    return post


def kept(connection, customer):
    limits = key_limits.find(connection, customer.key.id)
    return [(limit.name, limit.amount, limit.unit, limit.window_s or limit.period) for limit in limits]


def test_amounts_are_in_the_format_of_the_person(connection, customer, signed_in):
    address = f"/keys/{customer.key.id}"
    german = {"Accept-Language": "de"}
    form = signed_in.hidden(address) | {"amount-0": "1.500", "unit-0": "nanousd", "per-0": "month"}
    form |= {"amount-1": "2,50 $", "unit-1": "nanousd", "per-1": "day", "amount-2": "1.000", "unit-2": "request"}
    form |= {"per-2": "day"}
    assert signed_in.client.post(f"{address}/limits", data=form, headers=german).status_code == 303
    assert [amount for _, amount, *_ in kept(connection, customer)] == [1500 * 10**9, 25 * 10**8, 1000]
    assert 'value="2,5"' in signed_in.get(address, headers=german).text
    form |= signed_in.hidden(address) | {"amount-0": "viel"}
    assert "z. B. 25,50" in signed_in.client.post(f"{address}/limits", data=form, headers=german).text


def test_limits_are_saved_and_shown(connection, customer, signed_in, post):
    assert post(("10,000", "token", "60"), ("500", "request", "day"), ("", "request", "60")).status_code == 303
    assert kept(connection, customer) == [
        ("key_tokens_per_minute", 10_000, "token", 60),
        ("key_requests_per_day", 500, "request", "day"),
    ]
    page = signed_in.get(f"/keys/{customer.key.id}").text
    assert 'value="10000"' in page
    assert page.count("/ 500") == 1  # usage is shown for quotas only
    assert "10,000 tokens per minute" in signed_in.get("/keys").text


def test_input_and_output_are_limited_separately(connection, customer, signed_in, post):
    assert post(("900", "input_token", "60"), ("50", "output_token", "quarter")).status_code == 303
    assert kept(connection, customer) == [
        ("key_input_tokens_per_minute", 900, "input_token", 60),
        ("key_output_tokens_per_quarter", 50, "output_token", "quarter"),
    ]
    page = signed_in.get(f"/keys/{customer.key.id}").text
    assert '<option value="output_token" selected>output tokens</option>' in page
    assert "900 input tokens per minute" in signed_in.get("/keys").text


def test_periods_have_an_anchor_and_a_zone_or_are_for_life(connection, customer, signed_in, post):
    terms = {"anchor-0": "2026-01-15", "zone-0": "Europe/Berlin"}
    assert post(("500", "request", "month"), ("9", "request", "lifetime"), **terms).status_code == 303
    monthly, lifetime = key_limits.find(connection, customer.key.id)
    assert (monthly.anchor, monthly.zone) == (date(2026, 1, 15), "Europe/Berlin")
    assert (lifetime.name, lifetime.period) == ("key_requests_per_lifetime", "lifetime")
    page = signed_in.get(f"/keys/{customer.key.id}").text
    assert 'name="anchor-0" value="2026-01-15"' in page
    assert page.count(", resets on ") == 1
    answer = post(("500", "request", "60"), **{"zone-0": "Europe/Berlin"})
    assert answer.status_code == 422
    assert (
        '<span class="field-error" id="zone-0-error" role="alert">only applies to the periods day, week' in answer.text
    )


def test_weighted_limit_keeps_its_weights(connection, customer, signed_in, post):
    weights = Weights(input=1, output=4)
    made = Limit(name="a", unit="weighted", amount=5, window_s=60, subject="key", weights=weights, unit_name="points")
    key_limits.replace(connection, customer.key.id, [made], actor="test")
    page = signed_in.get(f"/keys/{customer.key.id}").text
    assert page.count('<option value="weighted" selected>points</option>') == 1
    assert post(("6", "weighted", "60"), **{"name-0": "a"}).status_code == 303
    (limit,) = key_limits.find(connection, customer.key.id)
    assert (limit.amount, limit.weights, limit.unit_name) == (6, weights, "points")


def test_kept_limit_keeps_its_name_and_fields_that_the_form_omits(connection, customer, post):
    made = Limit(
        name="mine", unit="token", amount=5, window_s=90, subject="key", when_down="safe", output_default=7, model="m"
    )
    key_limits.replace(connection, customer.key.id, [made], actor="test")
    assert post(("6", "token", "90"), **{"name-0": "mine", "model-0": "m"}).status_code == 303
    (limit,) = key_limits.find(connection, customer.key.id)
    assert (limit.name, limit.amount, limit.window_s, limit.when_down, limit.output_default, limit.model) == (
        *("mine", 6, 90, "safe", 7, "m"),
    )


def test_limit_of_a_tool_is_saved_and_shown(connection, customer, signed_in, post):
    assert post(("50", "request", "day"), **{"tool-0": "search*"}).status_code == 303
    (limit,) = key_limits.find(connection, customer.key.id)
    assert limit.tool == "search*"
    assert 'name="tool-0" value="search*"' in signed_in.get(f"/keys/{customer.key.id}").text
    assert post(("50", "request", "day"), **{"name-0": limit.name}).status_code == 303
    assert key_limits.find(connection, customer.key.id)[0].tool is None


@pytest.mark.parametrize(("dollars", "worth"), [("6.00", 10**7), ("6.005", None)])
def test_credit_budget_stays_in_credits_if_the_amount_is_whole_credits(connection, customer, post, dollars, worth):
    terms = {"name": "mine", "unit": "nanousd", "period": "month", "subject": "key"}
    made = Limit(**terms, amount=5 * 10**9, credit_nanousd=10**7, when_unpriced="refuse", output_default=7)
    key_limits.replace(connection, customer.key.id, [made], actor="test")
    assert post((dollars, "nanousd", "month"), **{"name-0": "mine"}).status_code == 303
    (limit,) = key_limits.find(connection, customer.key.id)
    assert limit.amount == int(float(dollars) * 1000) * 10**6
    assert (limit.credit_nanousd, limit.when_unpriced, limit.output_default) == (worth, "refuse", 7)


@pytest.mark.parametrize(("per", "is_smooth"), [("90", True), ("day", False)])
def test_smooth_limit_stays_smooth_if_it_is_a_rate(connection, customer, post, per, is_smooth):
    made = Limit(name="mine", unit="request", amount=5, window_s=90, subject="key", smooth=True)
    key_limits.replace(connection, customer.key.id, [made], actor="test")
    assert post(("6", "request", per), **{"name-0": "mine"}).status_code == 303
    (limit,) = key_limits.find(connection, customer.key.id)
    assert (limit.amount, limit.smooth) == (6, is_smooth)


def test_clearing_the_amount_removes_the_limit(connection, customer, post):
    post(("6", "request", "60"))
    post(("", "request", "60"), **{"name-0": "key_requests_per_minute"})
    assert kept(connection, customer) == []


def test_similar_limits_get_different_names(connection, customer, post):
    post(("6", "request", "60"), ("7", "request", "60"), **{"model-1": "gpt-4o"})
    assert [name for name, *_ in kept(connection, customer)] == ["key_requests_per_minute", "key_requests_per_minute_2"]


@pytest.mark.parametrize(
    "row",
    [
        ("-1", "request", "60"),
        ("1.5", "request", "60"),
        ("many", "request", "60"),
        ("9" * 30, "request", "60"),
        ("NaN", "nanousd", "day"),
        ("1e999", "nanousd", "day"),
        ("1e999999", "nanousd", "day"),
        ("0.0000000001", "nanousd", "day"),
        ("5", "gold", "60"),
        ("5", "request", "century"),
        ("5", "request", "0"),
        ("5", "request", "99999999999999999999"),
        ("5", "request", ""),
        ("<script>", "request", "60"),
    ],
)
def test_invalid_row_is_rejected_and_nothing_changes(connection, customer, post, row):
    answer = post(("6", "request", "60"), row)
    assert answer.status_code == 422
    assert "Changes not saved" in answer.text
    assert "<script>" not in answer.text
    assert kept(connection, customer) == []


@pytest.mark.parametrize("path", ["/keys", "/keys/{key}/limits"])
def test_errors_are_shown_at_their_fields_in_plain_words(signed_in, customer, path):
    page = f"/keys/{customer.key.id}" if "{key}" in path else "/keys/new"
    form = {"name": "x", "form_id": "0" * 32, "lifetime": "", "amount-0": "5", "unit-0": "request", "per-0": "60"}
    form |= {"amount-1": "2,50", "unit-1": "nanousd", "per-1": "day"}
    text = signed_in.post(path.format(key=customer.key.id), form, page=page).text
    assert 'value="2,50"' in text
    assert 'aria-describedby="amount-1-error"' in text
    assert 'id="amount-1-error" role="alert">must be an amount in US dollars, such as 25.50<' in text
    assert "amount-0-error" not in text
    assert not any(word in text for word in ("[1]", "limits[", "nano-USD"))


def test_error_of_the_list_of_limits_is_shown_above_it(post):
    answer = post(*[("5", "request", "60")] * 21)
    assert "at most 20" in answer.text.partition("<fieldset")[0]


def test_limit_per_tag_is_saved_and_shown(connection, customer, signed_in, post):
    assert post(("100", "request", "day"), ("60", "request", "60"), **{"per_tag-0": "on"}).status_code == 303
    assert [limit.per_tag for limit in key_limits.find(connection, customer.key.id)] == [True, False]
    assert "100 requests per day, per tag" in signed_in.get("/keys").text
    assert signed_in.get(f"/keys/{customer.key.id}").text.count('<option value="on" selected>Each tag</option>') == 1
