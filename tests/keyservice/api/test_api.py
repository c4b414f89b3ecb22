import pytest

RPM = {"name": "rpm", "unit": "request", "amount": 60, "window_s": 60}
MONTHLY = {"name": "monthly_requests", "unit": "request", "amount": 1000, "period": "month"}


@pytest.fixture
def call(client, operator):
    def call(method, path, document=None, *, status=200, headers=operator):
        answer = client.open(path, method=method, json=document, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    return call


@pytest.fixture
def account(call):
    call("POST", "/v1/plans", {"id": "free", "name": "Free", "limits": [RPM, MONTHLY]}, status=201)
    return call("POST", "/v1/accounts", {"name": "Acme", "plan": "free"}, status=201)


@pytest.fixture
def key(call, account):
    return call("POST", f"/v1/accounts/{account['id']}/keys", {"name": "prod"}, status=201)["key"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic test-admin-token-0123456789"},
        {"Authorization": "Bearer ünknown"},
        {"Authorization": "Bearer test-service-token-0123456789"},
    ],
)
def test_only_the_admin_token_is_let_in(call, headers):
    problem = call("GET", "/v1/plans", headers=headers, status=401)
    assert problem["code"] == "unauthorized"


def test_refusals_say_how_to_sign_in(client):
    answer = client.get("/v1/plans")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.content_type == "application/problem+json"


def test_a_plan_is_made_and_read(call):
    made = call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": [RPM, MONTHLY]}, status=201)
    assert [limit["name"] for limit in made["limits"]] == ["rpm", "monthly_requests"]
    others = ("route", "model", "output_default", "credit_nanousd", "weights", "unit_name", "tool")
    absent = dict.fromkeys(("period", "anchor", "zone", *others))
    chosen = {"subject": "account", "when_down": "closed", "when_unpriced": "admit"}
    assert made["limits"][0] == RPM | absent | chosen | dict.fromkeys(("dry_run", "smooth", "per_tag"), False)
    assert call("GET", "/v1/plans/pro") == made
    assert call("GET", "/v1/plans") == {"plans": [made], "next": None}
    assert call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": []}, status=409)["code"] == "plan_exists"


@pytest.mark.usefixtures("account")
def test_limits_are_replaced(call):
    plan = call("PUT", "/v1/plans/free/limits", {"limits": [RPM | {"amount": 5}]})
    assert [(limit["name"], limit["amount"]) for limit in plan["limits"]] == [("rpm", 5)]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"amount": -1}, "limits[0].amount", "wrong_number"),
        ({"amount": 2**53}, "limits[0].amount", "wrong_number"),
        ({"amount": 1.5}, "limits[0].amount", "wrong_number"),
        ({"amount": True}, "limits[0].amount", "wrong_number"),
        ({"amount": None}, "limits[0].amount", "missing"),
        ({"unit": "bananas"}, "limits[0].unit", "wrong_choice"),
        ({"unit": ["request"]}, "limits[0].unit", "wrong_choice"),
        ({"window_s": 0}, "limits[0].window_s", "wrong_number"),
        ({"window_s": 86401}, "limits[0].window_s", "wrong_number"),
        ({"period": "day"}, "limits[0].window_s", "wrong_window"),
        ({"window_s": None}, "limits[0].window_s", "wrong_window"),
        ({"unit": "concurrent"}, "limits[0].unit", "wrong_window"),
        ({"anchor": "2026-01-15"}, "limits[0].anchor", "wrong_period"),
        ({"zone": "Europe/Berlin"}, "limits[0].zone", "wrong_period"),
        ({"window_s": None, "period": "day", "anchor": "2026-01-15"}, "limits[0].anchor", "wrong_period"),
        ({"window_s": None, "period": "lifetime", "zone": "UTC"}, "limits[0].zone", "wrong_period"),
        ({"window_s": None, "period": "day", "zone": "+03:00"}, "limits[0].zone", "wrong_zone"),
        ({"window_s": None, "period": "month", "anchor": "2026-02-30"}, "limits[0].anchor", "wrong_time"),
        ({"unit": "credit"}, "limits[0].credit_nanousd", "wrong_unit"),
        ({"unit": "nanousd", "smooth": True}, "limits[0].smooth", "wrong_unit"),
        ({"unit": "token", "smooth": True}, "limits[0].smooth", "wrong_unit"),
        ({"amount": 10**8, "smooth": True}, "limits[0].smooth", "wrong_number"),
        ({"window_s": None, "period": "day", "smooth": True}, "limits[0].smooth", "wrong_window"),
        ({"credit_nanousd": 5}, "limits[0].credit_nanousd", "wrong_unit"),
        ({"unit": "credit", "credit_nanousd": 0}, "limits[0].credit_nanousd", "wrong_number"),
        ({"unit": "credit", "credit_nanousd": 2**50, "amount": 2**20}, "limits[0].amount", "wrong_number"),
        ({"when_unpriced": "refuse"}, "limits[0].when_unpriced", "wrong_unit"),
        ({"unit": "nanousd", "when_unpriced": "maybe"}, "limits[0].when_unpriced", "wrong_choice"),
        ({"unit": "nanousd", "amount": 0.5}, "limits[0].amount", "wrong_number"),
        ({"unit": "nanousd", "amount": "5 USD"}, "limits[0].amount", "wrong_number"),
        ({"name": "Über"}, "limits[0].name", "wrong_slug"),
        ({"name": ["rpm"]}, "limits[0].name", "wrong_slug"),
        ({"dry_run": "yes"}, "limits[0].dry_run", "wrong_type"),
        ({"burst": 5}, "limits[0].burst", "unknown_field"),
    ],
)
@pytest.mark.usefixtures("account")
def test_a_wrong_limit_is_refused_and_nothing_changes(call, change, field, code):
    before = call("GET", "/v1/plans/free")
    problem = call("PUT", "/v1/plans/free/limits", {"limits": [RPM | change]}, status=422)
    assert (field, code) in {(error["field"], error["code"]) for error in problem["errors"]}
    assert call("GET", "/v1/plans/free") == before


def test_limits_of_cost_are_read_back_as_they_were_given(call):
    budget = {"name": "budget", "unit": "nanousd", "amount": 5 * 10**9, "period": "day", "when_unpriced": "refuse"}
    paid = {"name": "credits", "unit": "credit", "amount": 500, "credit_nanousd": 10**7, "period": "month"}
    made = call("POST", "/v1/plans", {"id": "paid", "name": "Paid", "limits": [budget, paid]}, status=201)["limits"]
    assert budget.items() <= made[0].items()
    assert paid.items() <= made[1].items()
    assert call("PUT", "/v1/plans/paid/limits", {"limits": made})["limits"] == made


def test_two_limits_of_one_name_are_refused(call):
    problem = call("POST", "/v1/plans", {"id": "x", "name": "X", "limits": [RPM, RPM]}, status=422)
    assert problem["errors"][0]["code"] == "same_name"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b'"x"', b"\xff\xfe", b"null", b'{"name":"a"}', b"[" * 100_000]
)
def test_a_body_that_is_no_fitting_json_is_refused(client, operator, body):
    answer = client.post("/v1/accounts", data=body, headers=operator)
    assert answer.status_code == 422, answer.text
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "a\nb", "a\0b", 5, None, " a"])
def test_a_wrong_name_is_refused(call, account, name):
    problem = call("POST", f"/v1/accounts/{account['id']}/keys", {"name": name}, status=422)
    assert problem["errors"][0]["field"] == "name"


def test_an_account_changes_plan_and_status(call, account):
    call("POST", "/v1/plans", {"id": "pro", "name": "Pro", "limits": []}, status=201)
    path = f"/v1/accounts/{account['id']}"
    assert call("PATCH", path, {"plan": "pro", "status": "suspended"})["plan"] == "pro"
    assert call("GET", path)["status"] == "suspended"
    call("PATCH", path, {"status": "active", "plan": "gone"}, status=404)
    assert call("GET", path)["status"] == "suspended"


@pytest.mark.usefixtures("account")
def test_accounts_come_in_pages(call):
    for number in range(4):
        call("POST", "/v1/accounts", {"name": f"A{number}", "plan": "free"}, status=201)
    seen, after = [], ""
    while after is not None:
        page = call("GET", f"/v1/accounts?limit=2&after={after}")
        seen += [account["id"] for account in page["accounts"]]
        after = page["next"]
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize(
    "limit", ["0", "-1", "x", "501", "", "9" * 30, "000000001999999", "000000001" + "9" * 30, "+5", "5.0", "%C2%B2"]
)
def test_a_wrong_page_size_is_refused(call, limit):
    assert call("GET", f"/v1/accounts?limit={limit}", status=422)["errors"][0]["field"] == "limit"


def test_a_key_is_shown_once_and_its_secret_is_nowhere(call, account, connection):
    made = call("POST", f"/v1/accounts/{account['id']}/keys", {"name": "prod", "environment": "test"}, status=201)
    token, key = made["token"], made["key"]
    assert token.startswith(f"kg_test_{key['id']}_")
    assert call("GET", f"/v1/keys/{key['id']}") == key
    secret = token.rpartition("_")[2]
    dump = [
        str(connection.execute(f"SELECT * FROM {table}").fetchall())
        for table in ("key", "key_secret", "audit", "key_change")
    ]
    assert secret not in "".join(dump)


def test_keys_come_in_pages_and_deleted_ones_are_left_out(call, account):
    path = f"/v1/accounts/{account['id']}/keys"
    ids = [call("POST", path, {"name": f"k{number}"}, status=201)["key"]["id"] for number in range(5)]
    call("DELETE", f"/v1/keys/{ids[1]}", status=204)
    first = call("GET", f"{path}?limit=2")
    assert [key["id"] for key in first["keys"]] == [ids[0], ids[2]]
    second = call("GET", f"{path}?limit=2&after={first['next']}")
    assert [key["id"] for key in second["keys"]] == [ids[3], ids[4]]
    assert call("GET", f"{path}?limit=2&after={second['next']}") == {"keys": [], "next": None}


def test_a_key_is_changed(call, key):
    path = f"/v1/keys/{key['id']}"
    change = {"name": "production", "status": "disabled", "expires_at": "2031-01-01T00:00:00Z"}
    changed = call("PATCH", path, change)
    assert (changed["name"], changed["status"], changed["expires_at"]) == (
        "production",
        "disabled",
        "2031-01-01T00:00:00Z",
    )
    assert call("PATCH", path, {"expires_at": None})["expires_at"] is None
    assert call("PATCH", path, {"status": "active"})["status"] == "active"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "deleted"},
        {"status": None},
        {"name": ""},
        {"expires_at": "tomorrow"},
        {"expires_at": "2031-01-01T00:00:00"},
        {"expires_at": 5},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "1969-12-31T23:59:59Z"},
        {"account": "other"},
    ],
)
def test_a_wrong_change_of_a_key_is_refused_and_nothing_changes(call, key, change):
    path = f"/v1/keys/{key['id']}"
    call("PATCH", path, {"name": "other"} | change, status=422)
    assert call("GET", path) == key


def test_a_deleted_key_stays_readable_and_is_not_changed(call, key):
    path = f"/v1/keys/{key['id']}"
    call("DELETE", path, status=204)
    call("DELETE", path, status=204)
    assert call("GET", path)["status"] == "deleted"
    assert call("PATCH", path, {"status": "active"}, status=409)["code"] == "key_deleted"
    assert call("PUT", f"{path}/limits", {"limits": []}, status=409)["code"] == "key_deleted"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/plans/none", "plan_not_found"),
        ("GET", "/v1/accounts/none", "account_not_found"),
        ("GET", "/v1/accounts/none/keys", "account_not_found"),
        ("GET", "/v1/keys/none", "key_not_found"),
        ("DELETE", "/v1/keys/none", "key_not_found"),
        ("GET", "/v1/nothing", "not_found"),
        ("GET", "/v1/keys/%00", "not_found"),
    ],
)
def test_what_is_unknown_is_404(call, method, path, code):
    assert call(method, path, status=404)["code"] == code


def test_text_that_cannot_be_kept_is_refused_and_named(call):
    problem = call("GET", "/v1/accounts?limit=5&after=a%00", status=422)
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [("after", "wrong_text")]


def test_every_change_is_in_the_audit_record(call, key, connection):
    call("PATCH", f"/v1/keys/{key['id']}", {"status": "disabled", "name": "b"})
    call("DELETE", f"/v1/keys/{key['id']}", status=204)
    rows = connection.execute("SELECT action, actor, subject FROM audit ORDER BY id").fetchall()
    assert [row["action"] for row in rows] == [
        "plan.create",
        "account.create",
        "key.create",
        "key.rename",
        "key.disable",
        "key.delete",
    ]
    assert {row["actor"] for row in rows} == {"operator"}


def test_a_key_gets_limits_of_its_own(call, key):
    path = f"/v1/keys/{key['id']}/limits"
    assert call("GET", path) == {"limits": []}
    limit = {"name": "own", "unit": "token", "amount": 500, "window_s": 60, "route": "/chat", "output_default": 50}
    (made,) = call("PUT", path, {"limits": [limit]})["limits"]
    assert limit.items() <= made.items()
    assert made["subject"] == "key"
    for wrong in (
        {"unit": "concurrent", "amount": 1},
        {"amount": -1},
        {"window_s": 0},
        {"window_s": 90_000},
        {"unit": "moons"},
        {"unit": "request"},
        {"output_default": 0},
    ):
        call("PUT", path, {"limits": [limit | wrong]}, status=422)
    assert call("GET", path) == {"limits": [made]}


def walk(client, operator, path, name):
    """All rows of a list, one a page."""
    rows, after = [], None
    while True:
        query = {"limit": 1} | ({"after": after} if after else {})
        page = client.get(path, query_string=query, headers=operator)
        assert page.status_code == 200, page.text
        rows += page.json[name]
        if (after := page.json["next"]) is None:
            return rows


def test_plans_and_prices_come_in_pages(client, operator):
    for plan in ("b", "a", "c"):
        client.post("/v1/plans", json={"id": plan, "name": plan, "limits": []}, headers=operator)
    assert [plan["id"] for plan in walk(client, operator, "/v1/plans", "plans")] == ["a", "b", "c"]
    for model, day in (("y", 1), ("x", 1), ("x", 3), ("x", 2), ("x", 2)):
        valid_from = f"2026-11-0{day}T00:00:00Z"
        body = {"model": model, "valid_from": valid_from, "tiers": [{"input": 1, "output": 2}]}
        assert client.post("/v1/prices", json=body, headers=operator).status_code == 201
    paged = walk(client, operator, "/v1/prices", "prices")
    assert [(price["model"], price["valid_from"][9]) for price in paged] == [
        *(("x", "3"), ("x", "2"), ("x", "2"), ("x", "1"), ("y", "1"))
    ]
    assert paged == client.get("/v1/prices", headers=operator).json["prices"]
    for path in ("/v1/prices", "/v1/billing"):
        assert client.get(f"{path}?after=x", headers=operator).status_code == 422


def test_invoices_come_in_pages(client, operator, connection):
    client.post("/v1/plans", json={"id": "free", "name": "Free", "limits": []}, headers=operator)
    for name in ("one", "two"):
        client.post("/v1/accounts", json={"name": name, "plan": "free"}, headers=operator)
    connection.execute("UPDATE account SET created_at = now() - interval '100 days'")
    assert client.post("/v1/billing/close", headers=operator).json["closed"] > 4
    whole = client.get("/v1/billing", headers=operator).json
    assert whole["next"] is None
    assert walk(client, operator, "/v1/billing", "invoices") == whole["invoices"]
