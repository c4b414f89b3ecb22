import pytest

PAGES = ("/", "/keys", "/usage", "/usage.csv", "/calls")


def test_every_page_requires_signing_in(visitor):
    for page in PAGES:
        answer = visitor.get(page)
        assert answer.status_code == 303
        assert answer.location.startswith("/sign-in")


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(app, signed_in):
    cookie = signed_in.client.get_cookie("keygauge_session").value
    assert signed_in.post("/sign-out").location == "/sign-in"
    thief = app.test_client()
    thief.set_cookie("keygauge_session", cookie)
    assert thief.get("/keys").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_from_other_sites_are_rejected(visitor, customer, headers):
    form = {"email": customer.member.email, "password": customer.password}
    assert visitor.client.post("/sign-in", data=form, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/keys", "/keys/abc/status", "/keys/abc/delete", "/sign-out"])
@pytest.mark.parametrize("csrf", [None, "", "wrong", "ü"])
def test_changes_without_the_csrf_token_are_rejected(signed_in, path, csrf):
    answer = signed_in.client.post(path, data={} if csrf is None else {"csrf": csrf})
    assert answer.status_code == 403
    assert "This form has expired" in answer.text
    assert signed_in.get("/keys").status_code == 200


def test_csrf_token_of_another_session_is_rejected(app, signed_in, customer):
    other = type(signed_in)(app.test_client())
    other.sign_in(customer)
    assert signed_in.client.post("/sign-out", data={"csrf": other.hidden()["csrf"]}).status_code == 403


def test_session_of_a_deleted_member_ends(connection, signed_in, customer):
    connection.execute("DELETE FROM member WHERE id = %s", (customer.member.id,))
    assert signed_in.get("/keys").status_code == 303


def test_csrf_token_is_masked_differently_each_time(signed_in):
    first, second = signed_in.hidden()["csrf"], signed_in.hidden()["csrf"]
    assert first != second
    for token, status in ((first, 303), (second, 303), (first[:-2], 403), ("x", 403), ("", 403), ("00" * 86, 403)):
        assert signed_in.client.post("/operator/leave", data={"csrf": token}).status_code == (
            404 if status == 303 else 403
        )


def test_planted_session_cookie_is_replaced_at_sign_in(app, visitor, customer):
    visitor.client.set_cookie("keygauge_session", "planted")
    visitor.sign_in(customer)
    assert visitor.client.get_cookie("keygauge_session").value != "planted"
    thief = app.test_client()
    thief.set_cookie("keygauge_session", "planted")
    assert thief.get("/keys").status_code == 303


def test_signing_in_again_ends_the_previous_session(app, visitor, customer):
    visitor.sign_in(customer)
    before = visitor.client.get_cookie("keygauge_session").value
    visitor.sign_in(customer)
    thief = app.test_client()
    thief.set_cookie("keygauge_session", before)
    assert thief.get("/keys").status_code == 303
    assert visitor.get("/keys").status_code == 200
