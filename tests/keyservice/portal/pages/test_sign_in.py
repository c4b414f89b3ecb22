import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from keygauge_keyservice.accounts import login_throttle

PAGES = ("/", "/keys", "/usage", "/usage.csv", "/calls")


def test_every_page_asks_for_a_sign_in(visitor):
    for page in PAGES:
        answer = visitor.get(page)
        assert answer.status_code == 303
        assert answer.location.startswith("/sign-in")


def test_sign_in_leads_to_the_page_that_was_asked_for(visitor, customer):
    location = visitor.get("/usage?range=7d").location
    assert location == "/sign-in?next=/usage?range%3D7d"
    form = {"email": customer.member.email.upper(), "password": customer.password, "next": "/usage?range=7d"}
    assert visitor.client.post("/sign-in", data=form).location == "/usage?range=7d"
    assert visitor.get("/usage?range=7d").status_code == 200


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "evil", ""],
)
def test_sign_in_leads_to_no_other_site(visitor, customer, target):
    form = {"email": customer.member.email, "password": customer.password, "next": target}
    assert visitor.client.post("/sign-in", data=form).location == "/"


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(visitor, customer):
    cookie = visitor.sign_in(customer).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    visitor.client.delete_cookie("keygauge_session")
    assert "Secure" in visitor.sign_in(customer, base_url="https://localhost").headers["Set-Cookie"]


def test_wrong_password_and_unknown_address_get_the_same_answer(visitor, customer):
    pages = []
    for email in (customer.member.email, "nobody@example.com"):
        answer = visitor.client.post("/sign-in", data={"email": email, "password": "wrong"})
        assert answer.status_code == 422
        assert "Set-Cookie" not in answer.headers
        pages.append(answer.text.replace(email, ""))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("email", ["", "nobody", "a\1b@example.com", "x" * 300 + "@example.com", "'; DROP TABLE--@x"])
def test_nonsense_is_refused_like_a_wrong_password(visitor, email):
    answer = visitor.client.post("/sign-in", data={"email": email, "password": "x" * 2000})
    assert answer.status_code == 422
    assert "Incorrect e-mail address or password" in answer.text


def test_guessing_locks_even_the_right_password_out(visitor, customer):
    for _ in range(login_throttle.PER_EMAIL_AND_IP):
        assert visitor.sign_in(customer, password="wrong").status_code == 422
    refused = visitor.sign_in(customer)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == str(login_throttle.WINDOW_S)
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert visitor.sign_in(customer, environ_base=elsewhere).status_code == 303


def test_guessing_all_at_once_gets_no_further(app, customer):
    form = {"email": customer.member.email, "password": "wrong"}
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: app.test_client().post("/sign-in", data=form).status_code, range(16)))
    assert sorted(statuses) == [422] * login_throttle.PER_EMAIL_AND_IP + [429] * (16 - login_throttle.PER_EMAIL_AND_IP)


def test_lock_tells_nothing_about_an_address(visitor, customer):
    pages = []
    for email in (customer.member.email, "nobody@example.com"):
        for _ in range(login_throttle.PER_EMAIL_AND_IP + 1):
            answer = visitor.client.post("/sign-in", data={"email": email, "password": "wrong"})
        assert answer.status_code == 429
        pages.append(answer.text.replace(email, ""))
    assert pages[0] == pages[1]


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(app, signed_in):
    cookie = signed_in.client.get_cookie("keygauge_session").value
    assert signed_in.post("/sign-out").location == "/sign-in"
    thief = app.test_client()
    thief.set_cookie("keygauge_session", cookie)
    assert thief.get("/keys").status_code == 303


def test_password_and_cookie_are_in_no_log(visitor, customer, caplog):
    caplog.set_level(logging.DEBUG)
    visitor.sign_in(customer, password="a-wrong-canary-password")
    visitor.sign_in(customer)
    cookie = visitor.client.get_cookie("keygauge_session").value
    for secret in (customer.password, "a-wrong-canary-password", cookie):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_of_other_sites_are_refused(visitor, customer, headers):
    form = {"email": customer.member.email, "password": customer.password}
    assert visitor.client.post("/sign-in", data=form, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/keys", "/keys/abc/status", "/keys/abc/delete", "/sign-out"])
@pytest.mark.parametrize("csrf", [None, "", "wrong", "ü"])
def test_changes_without_the_sessions_csrf_token_are_refused(signed_in, path, csrf):
    answer = signed_in.client.post(path, data={} if csrf is None else {"csrf": csrf})
    assert answer.status_code == 403
    assert "This form has expired" in answer.text
    assert signed_in.get("/keys").status_code == 200


def test_csrf_token_of_another_session_is_refused(app, signed_in, customer):
    other = type(signed_in)(app.test_client())
    other.sign_in(customer)
    assert signed_in.client.post("/sign-out", data={"csrf": other.hidden()["csrf"]}).status_code == 403


def test_every_answer_has_the_security_headers(visitor, signed_in):
    answers = [signed_in.get(page) for page in (*PAGES, "/keys/unknown/delete")]
    answers += [visitor.get("/sign-in"), visitor.get("/keys"), visitor.get("/assets/x/y")]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"


def test_files_are_cached_under_an_address_of_their_content(visitor):
    page = visitor.get("/sign-in").text
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert visitor.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert visitor.get("/assets/older/portal.css").headers["Cache-Control"] == "no-cache"
    for name in ("..%2fguard.py", "guard.py", "%00"):
        assert visitor.get(f"/assets/x/{name}").status_code == 404


def test_page_of_an_unknown_address_keeps_those_who_are_signed_in_their_links(signed_in, visitor):
    assert "Sign out" in signed_in.get("/nothing", headers={"Accept": "text/html"}).text
    assert "Sign out" not in visitor.get("/nothing", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/keys/x/rotate", 405), ("/v1/nothing", 404)])
def test_unknown_address_is_a_page_for_people_and_a_problem_for_programs(visitor, path, status):
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = visitor.get(path, headers=browser)
    assert answer.status_code == status
    if path.startswith("/v1/"):
        assert answer.content_type == "application/problem+json"
    else:
        assert "Go to overview" in answer.text
        assert "Content-Security-Policy" in answer.headers
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert visitor.get(path, headers=headers).content_type == "application/problem+json"


def test_theme_is_kept_without_a_script(visitor):
    visitor.client.post("/theme", data={"theme": "dark", "next": "/sign-in"})
    assert '<html lang="en" data-theme="dark">' in visitor.get("/sign-in").text
    visitor.client.set_cookie("keygauge_theme", '"><script>')
    assert '<html lang="en">' in visitor.get("/sign-in").text


def test_session_of_a_deleted_member_ends(connection, signed_in, customer):
    connection.execute("DELETE FROM member WHERE id = %s", (customer.member.id,))
    assert signed_in.get("/keys").status_code == 303


def test_csrf_token_is_written_another_way_each_time(signed_in):
    first, second = signed_in.hidden()["csrf"], signed_in.hidden()["csrf"]
    assert first != second
    for token, status in ((first, 303), (second, 303), (first[:-2], 403), ("x", 403), ("", 403), ("00" * 86, 403)):
        assert signed_in.client.post("/operator/leave", data={"csrf": token}).status_code == (
            404 if status == 303 else 403
        )
