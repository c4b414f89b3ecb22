import re
from dataclasses import replace

from keygauge_keyservice.app import create_app

HTTPS = {"base_url": "https://keys.example"}


def test_cookie_is_not_available_to_scripts_and_other_sites(visitor, customer):
    cookie = visitor.sign_in(customer).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie
    visitor.client.delete_cookie("keygauge_session")
    assert "Secure" in visitor.sign_in(customer, base_url="https://localhost").headers["Set-Cookie"]


def test_cookies_over_https_have_the_host_prefix(visitor, customer):
    cookies = visitor.sign_in(customer, **HTTPS).headers.getlist("Set-Cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-keygauge_session", "__Host-keygauge_device"]
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert visitor.get("/keys", **HTTPS).status_code == 200
    visitor.client.set_cookie("keygauge_session", "from-a-sister-domain", domain="keys.example")
    assert visitor.get("/keys", **HTTPS).status_code == 200


def test_browser_known_for_one_account_is_unknown_for_another(visitor, customer, stranger):
    visitor.sign_in(stranger)
    statuses = [visitor.sign_in(customer, password="wrong").status_code for _ in range(6)]
    assert statuses[-1] == 429


def test_browser_stays_known_for_each_account_it_has_signed_in_to(visitor, customer, stranger):
    for one in (customer, stranger):
        visitor.sign_in(one)
    for one in (customer, stranger):
        statuses = [visitor.sign_in(one, password="wrong").status_code for _ in range(6)]
        assert statuses[-1] == (422 if one is customer else 429)  # ten in all


def test_links_use_the_configured_address(settings, customer):
    app = create_app(replace(settings, public_url="https://keys.acme.com"))
    browser = app.test_client()
    try:
        form = {"email": customer.member.email, "password": customer.password}
        assert browser.post("/sign-in", data=form, **HTTPS).status_code == 303
        hidden = dict(re.findall(r'name="(csrf)" value="([^"]+)"', browser.get("/members", **HTTPS).text))
        form = hidden | {"email": "new@example.com", "role": "viewer"}
        answer = browser.post("/members", data=form, headers={"X-Forwarded-Host": "evil.example"}, **HTTPS)
        assert "https://keys.acme.com/invitation/" in answer.text
        assert "evil.example" not in answer.text
    finally:
        app.extensions["keygauge"].close()
