import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from keygauge_keyservice.accounts import login_throttle

PAGES = ("/", "/keys", "/usage", "/usage.csv", "/calls")


def test_sign_in_redirects_to_the_requested_page(visitor, customer):
    location = visitor.get("/usage?range=7d").location
    assert location == "/sign-in?next=/usage?range%3D7d"
    form = {"email": customer.member.email.upper(), "password": customer.password, "next": "/usage?range=7d"}
    assert visitor.client.post("/sign-in", data=form).location == "/usage?range=7d"
    assert visitor.get("/usage?range=7d").status_code == 200


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "evil", ""],
)
def test_sign_in_does_not_redirect_to_other_sites(visitor, customer, target):
    form = {"email": customer.member.email, "password": customer.password, "next": target}
    assert visitor.client.post("/sign-in", data=form).location == "/"


def test_wrong_password_and_unknown_address_get_the_same_response(visitor, customer):
    pages = []
    for email in (customer.member.email, "nobody@example.com"):
        answer = visitor.client.post("/sign-in", data={"email": email, "password": "wrong"})
        assert answer.status_code == 422
        assert "Set-Cookie" not in answer.headers
        pages.append(answer.text.replace(email, ""))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("email", ["", "nobody", "a\1b@example.com", "x" * 300 + "@example.com", "'; DROP TABLE--@x"])
def test_invalid_addresses_are_rejected_like_a_wrong_password(visitor, email):
    answer = visitor.client.post("/sign-in", data={"email": email, "password": "x" * 2000})
    assert answer.status_code == 422
    assert "Incorrect e-mail address or password" in answer.text


def test_too_many_guesses_lock_out_even_the_right_password(visitor, customer):
    for _ in range(login_throttle.PER_EMAIL_AND_IP):
        assert visitor.sign_in(customer, password="wrong").status_code == 422
    refused = visitor.sign_in(customer)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == str(login_throttle.WINDOW_S)
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert visitor.sign_in(customer, environ_base=elsewhere).status_code == 303


def test_concurrent_guesses_stay_within_the_limit(app, customer):
    form = {"email": customer.member.email, "password": "wrong"}
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: app.test_client().post("/sign-in", data=form).status_code, range(16)))
    assert sorted(statuses) == [422] * login_throttle.PER_EMAIL_AND_IP + [429] * (16 - login_throttle.PER_EMAIL_AND_IP)


def test_lock_does_not_reveal_whether_an_address_exists(visitor, customer):
    pages = []
    for email in (customer.member.email, "nobody@example.com"):
        for _ in range(login_throttle.PER_EMAIL_AND_IP + 1):
            answer = visitor.client.post("/sign-in", data={"email": email, "password": "wrong"})
        assert answer.status_code == 429
        pages.append(answer.text.replace(email, ""))
    assert pages[0] == pages[1]


def test_password_and_cookie_are_not_logged(visitor, customer, caplog):
    caplog.set_level(logging.DEBUG)
    visitor.sign_in(customer, password="a-wrong-canary-password")
    visitor.sign_in(customer)
    cookie = visitor.client.get_cookie("keygauge_session").value
    for secret in (customer.password, "a-wrong-canary-password", cookie):
        assert secret not in caplog.text


def test_theme_is_kept_without_scripts(visitor):
    visitor.client.post("/theme", data={"theme": "dark", "next": "/sign-in"})
    assert '<html lang="en" data-theme="dark">' in visitor.get("/sign-in").text
    visitor.client.set_cookie("keygauge_theme", '"><script>')
    assert '<html lang="en">' in visitor.get("/sign-in").text
