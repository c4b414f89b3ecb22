"""The portal in a real browser, under its strict Content-Security-Policy."""

import importlib.resources
import logging
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect
from werkzeug.serving import make_server

from keygauge_keyservice import keys, members

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
PHONE = {"width": 390, "height": 844}
DAY_US = 86_400_000_000


@pytest.fixture
def address(app):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def browsing(chromium, address, **options):
    """A page whose console stays clean, or the test fails."""
    context = chromium.new_context(base_url=address, **options)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []
    context.close()


def sign_in(page, customer):
    page.goto("/")
    page.get_by_label("E-mail address").fill(customer.member.email)
    page.get_by_label("Password").fill(customer.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name=customer.account.name)).to_be_visible()


@pytest.fixture
def used(customer, record):
    """A customer with a few weeks of use."""
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    record(
        customer,
        *(
            {"time_us": now_us - day * DAY_US, "input_tokens": 1000 * day, "model": model}
            for day in range(25)
            for model in ("gpt-4o-mini", "claude-sonnet-4-6")
        ),
        {"time_us": now_us, "status": 429, "outcome": "limited", "limit": "rpm"},
        {"time_us": now_us, "status": 500},
    )
    return customer


def test_key_is_created_copied_once_disabled_and_deleted(chromium, address, connection, customer):
    with browsing(chromium, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        sign_in(page, customer)
        page.get_by_role("link", name="Keys", exact=True).click()
        page.get_by_label("Name").fill("checkout, production")
        page.get_by_role("button", name="Create key").click()
        token = page.locator("#token").inner_text()
        assert re.fullmatch(r"kg_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", token)
        page.get_by_role("button", name="Copy key").click()
        expect(page.locator("#copied")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == token
        assert token not in page.url

        page.reload()  # sends the form again
        expect(page.get_by_role("status")).to_contain_text("no other key was created")
        assert token not in page.content()
        assert len(keys.list_keys(connection, customer.account.id)) == 2

        row = page.get_by_role("row", name="checkout, production")
        row.get_by_role("button", name="Disable").click()
        expect(row.get_by_text("Disabled")).to_be_visible()
        row.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.get_by_role("status")).to_contain_text("is deleted")
        assert len(keys.list_keys(connection, customer.account.id)) == 1


def test_usage_page_shows_charts_with_tooltips(chromium, address, used):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.get_by_role("link", name="Usage", exact=True).click()
        expect(page.locator("#chart-tokens-wide")).to_be_visible()
        expect(page.locator("#chart-tokens-narrow")).to_be_hidden()
        page.locator("#chart-tokens-wide .column").nth(10).hover()
        tooltip = page.locator("#chart-tokens-wide .tooltip")
        expect(tooltip).to_have_css("opacity", "1")
        assert re.search(r"Output \S+Input \S+Total \S+", tooltip.text_content())
        page.get_by_role("link", name="90 days").click()
        assert page.url.endswith("/usage?range=90d")
        expect(page.locator("#chart-tokens-wide .column")).to_have_count(90)
        page.locator("select[name=key]").select_option(used.key.name)
        page.get_by_role("button", name="Choose").click()
        assert page.url.endswith(f"/usage?range=90d&key={used.key.id}")


def pages(page, customer):
    """The addresses of all pages of an account, that of a call among them."""
    page.goto("/calls")
    call = page.locator("#calls a").first.get_attribute("href")
    of_key = [f"/keys/{customer.key.id}", f"/keys/{customer.key.id}/delete"]
    return [
        "/",
        "/keys",
        *of_key,
        "/usage",
        "/usage?range=24h",
        "/stats",
        "/calls",
        call,
        "/billing",
        "/audit",
        "/members",
        "/password",
    ]


def complaints_of_axe(page):
    """What axe-core finds wrong: every rule of WCAG 2 A and AA, and its best practices."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desk", "phone"])
def test_no_page_breaks_the_policy_or_the_screen(chromium, address, used, scheme, viewport):
    with browsing(chromium, address, color_scheme=scheme, viewport=viewport or {"width": 1280, "height": 800}) as page:
        sign_in(page, used)
        for path in pages(page, used):
            assert page.goto(path).status == 200
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert complaints_of_axe(page) == [], path


def test_policy_is_enforced(chromium, address, customer):
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    page.goto("/sign-in")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" id=styled>x</p>')")
    assert page.evaluate("getComputedStyle(styled).color") != "rgb(255, 0, 0)"
    context.close()


def test_everything_but_tooltips_and_copying_works_without_scripts(chromium, address, used):
    with browsing(chromium, address, java_script_enabled=False) as page:
        sign_in(page, used)
        page.goto("/usage")
        expect(page.locator("#chart-tokens-wide")).to_be_visible()
        page.get_by_text("The charts as a table").click()
        expect(page.get_by_role("region", name="Usage over time")).to_be_visible()
        page.goto("/keys")
        page.get_by_label("Name").fill("no scripts")
        page.get_by_role("button", name="Create key").click()
        expect(page.locator("#token")).to_contain_text("kg_live_")
        expect(page.get_by_role("button", name="Copy key")).to_be_hidden()


def test_choice_of_dark_is_kept(chromium, address, customer):
    with browsing(chromium, address, color_scheme="light") as page:
        sign_in(page, customer)
        page.goto("/usage?range=7d")
        page.get_by_role("button", name="Use dark colours").click()
        assert page.url.endswith("/usage?range=7d")
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        page.goto("/keys")
        expect(page.get_by_role("button", name="Use light colours")).to_be_visible()


def test_page_is_used_by_keyboard(chromium, address, customer):
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.goto("/keys")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()


def test_newest_calls_appear_by_themselves(chromium, address, used, record):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/calls")
        expect(page.get_by_role("button", name="Live: pause")).to_be_visible()
        now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        record(used, {"time_us": now_us, "ip": "198.51.100.77"})
        expect(page.get_by_text("198.51.100.77")).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="Live: pause").click()
        expect(page.get_by_role("button", name="Paused: go on")).to_be_visible()
        page.locator("#calls a").first.click()
        expect(page.get_by_text("0af7651916cd43dd8448eb211c80319c")).to_be_visible()


def test_bar_of_a_chart_leads_to_its_calls(chromium, address, used):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/usage?range=7d")
        page.locator("#chart-requests-wide .column").last.click()
        expect(page.get_by_role("heading", name="Calls")).to_be_visible()
        expect(page.locator("#calls tr")).to_have_count(4)


def test_person_joins_by_a_link_and_an_operator_looks_on(chromium, address, connection, customer):
    members.create(
        connection, account_id=None, email="op@example.com", password="a long password", role="operator", actor="test"
    )
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.get_by_role("link", name="Members").click()
        page.get_by_label("E-mail address").fill("grace@acme.example")
        page.get_by_role("button", name="Make a link").click()
        link = page.locator("#link").inner_text()
    with browsing(chromium, address) as page:
        page.goto(link)
        assert complaints_of_axe(page) == []
        page.get_by_label("Choose a password").fill("a very good password")
        page.get_by_label("Again").fill("a very good password")
        page.get_by_role("button", name="Come in").click()
        expect(page.get_by_role("heading", name=customer.account.name)).to_be_visible()
    with browsing(chromium, address) as page:
        page.goto("/sign-in")
        assert complaints_of_axe(page) == []
        page.get_by_label("E-mail address").fill("op@example.com")
        page.get_by_label("Password").fill("a long password")
        page.get_by_role("button", name="Sign in").click()
        for path in ("/operator", "/operator/keys", "/operator/plans", f"/operator/accounts/{customer.account.id}"):
            page.goto(path)
            assert complaints_of_axe(page) == [], path
        page.get_by_role("button", name="Look at its pages").click()
        expect(page.get_by_text("You look at this account as an operator.")).to_be_visible()
        page.get_by_role("button", name="Leave it").click()
        expect(page.get_by_role("heading", name="Accounts")).to_be_visible()
