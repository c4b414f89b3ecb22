"""The portal in a real browser, under its strict Content-Security-Policy."""

import csv
import importlib.resources
import logging
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Error, expect
from werkzeug.serving import make_server

from keygauge.protocol import Heartbeat, OpenStreams
from keygauge_keyservice.accounts import invitations, login_throttle, members
from keygauge_keyservice.accounts.oidc import Provider
from keygauge_keyservice.app import create_app
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import replicas
from keygauge_keyservice.portal import own_keys

pytestmark = pytest.mark.timeout(300)  # on a busy machine, axe-core takes seconds for some pages

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
PHONE, TABLET, DESK = {"width": 390, "height": 844}, {"width": 820, "height": 1180}, {"width": 1280, "height": 800}
DAY_US = 86_400_000_000
CRAMPED = """[...document.querySelectorAll('.cards td[data-name]')].filter(one => one.textContent.trim() &&
    (one.clientWidth < 100 || one.scrollWidth > one.clientWidth)).map(one => one.textContent)"""
NO_PAGES = {"portal.assets.read", "portal.overview.live", "portal.single_sign_on.begin", "portal.single_sign_on.finish"}


@contextmanager
def serving(app):
    """Serve an app to browsers and yield its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def address(app):
    with serving(app) as address:
        yield address


@contextmanager
def browsing(chromium, address, *, is_fault=False, **options):
    """Yield a page and fail if anything was logged to its console; `is_fault` allows HTTP errors."""
    # Without motion: contrast is measured, and colours change during a transition.
    context = chromium.new_context(base_url=address, reduced_motion="reduce", **options)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [text for text in complaints if not (is_fault and text.startswith("Failed to load resource"))] == []


def sign_in(page, customer):
    page.goto("/")
    page.get_by_label("E-mail address").fill(customer.member.email)
    page.get_by_label("Password").fill(customer.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name=customer.account.name)).to_be_visible()


@pytest.fixture
def used(customer, record):
    """A customer with a few weeks of usage."""
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
        page.get_by_role("link", name="Create key").click()
        page.get_by_label("Name").fill("checkout, production")
        page.get_by_role("button", name="Create key").click()
        token = page.locator("#token").inner_text()
        assert re.fullmatch(r"kg_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", token)
        page.get_by_role("button", name="Copy key").click()
        expect(page.locator("#copied")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == token
        assert token not in page.url

        page.reload()  # submits the form again
        expect(page.get_by_role("status")).to_contain_text("no other key was created")
        assert token not in page.content()
        assert len(keys.list_keys(connection, customer.account.id)) == 2

        row = page.get_by_role("row", name="checkout, production")
        row.get_by_text("Actions", exact=True).click()
        row.get_by_role("button", name="Disable").click()
        expect(row.get_by_text("Disabled")).to_be_visible()
        row.get_by_text("Actions", exact=True).click()
        row.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete key").click()
        expect(page.get_by_role("status")).to_contain_text("deleted")
        assert len(keys.list_keys(connection, customer.account.id)) == 1


def test_usage_page_shows_charts_with_tooltips(chromium, address, used):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.get_by_role("link", name="Usage", exact=True).click()
        page.get_by_role("link", name="Tokens").click()
        expect(page.locator("#chart-usage-wide")).to_be_visible()
        expect(page.locator("#chart-usage-narrow")).to_be_hidden()
        page.locator("#chart-usage-wide .column").nth(10).hover()
        tooltip = page.locator("#chart-usage-wide .tooltip")
        expect(tooltip).to_have_css("opacity", "1")
        assert re.search(r"Output \S+Cached input \S+Input \S+Total \S+", tooltip.text_content())


def test_toolbar_applies_on_change(chromium, address, used):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/usage")
        page.get_by_label("Date range").select_option("Last 90 days")
        page.wait_for_url("**/usage?range=90d*")
        expect(page.locator("#chart-usage-wide .column")).to_have_count(90)
        page.get_by_label("Key", exact=True).fill(used.key.name)
        page.get_by_label("Key", exact=True).press("Tab")
        page.wait_for_url("**key=Acme*")
        page.get_by_label("Group by").select_option("model")
        page.wait_for_url("**group=model*")
        expect(page.get_by_role("heading", name="Requests per day by model")).to_be_visible()
        page.get_by_label("From").fill((datetime.now(UTC) - timedelta(days=9)).strftime("%Y-%m-%d"))
        page.wait_for_url("**from=*")
        expect(page.get_by_label("Date range")).to_have_value("custom")
        expect(page.locator("#chart-usage-wide .column")).to_have_count(10)


def pages(app, prefix="portal.", **ids):
    """Return the addresses of all pages of the app whose ids, if they have any, are all given."""
    found = []
    for rule in app.url_map.iter_rules():
        is_file = rule.rule.endswith((".csv", ".json")) or rule.endpoint in NO_PAGES
        if rule.endpoint.startswith(prefix) and "GET" in rule.methods and not is_file and rule.arguments <= ids.keys():
            found.append(re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda name: ids[name[1]], rule.rule))
    return sorted(found)


def complaints_of_axe(page, *rules):
    """Return the violations that axe-core finds: WCAG 2 A and AA and best practices, or only `rules`."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found]


# Touch targets lower than 44 px, except links in running text. A checkbox counts with the label around it.
TOO_LOW = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
    .filter(node => node.checkVisibility() && !node.matches(".skip") && getComputedStyle(node).display !== "inline")
    .map(node => [node.outerHTML.slice(0, 120), node.type === "checkbox" ? node.closest("label") || node : node])
    .filter(([, node]) => node.getBoundingClientRect().height < 43.5).map(([text]) => text)"""


# Cards whose content is wider than the card and not scrollable.
TOO_WIDE = """() => [...document.querySelectorAll(".card")]
    .filter(card => card.scrollWidth > card.clientWidth && !/auto|scroll/.test(getComputedStyle(card).overflowX))
    .map(card => card.outerHTML.slice(0, 200))"""


def fits(page):
    """Return whether neither the page nor a card on it is wider than its place."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth") and page.evaluate(TOO_WIDE) == []


def inspect(page, *paths, status=200):
    """Check the layout and accessibility of pages, and their contrast in the other colour scheme too."""
    for path in paths:
        assert page.goto(path).status == status, path
        if page.viewport_size == PHONE:
            assert page.evaluate(TOO_LOW) == [], path
        else:
            page.set_viewport_size(TABLET)
            assert fits(page), path
            page.set_viewport_size(DESK)
        assert fits(page), path
        assert complaints_of_axe(page) == [], path
        was_dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        page.emulate_media(color_scheme="light" if was_dark else "dark")
        assert complaints_of_axe(page, "color-contrast") == [], path
        page.emulate_media(color_scheme="dark" if was_dark else "light")


SCREENS = pytest.mark.parametrize(
    "screen",
    [
        {"color_scheme": "light", "viewport": DESK},
        {"color_scheme": "dark", "viewport": PHONE},
    ],
    ids=["desk", "phone"],
)


@pytest.mark.parametrize("language", ["en", pytest.param("de", marks=pytest.mark.long)])
@SCREENS
def test_account_pages_fit_the_screen_and_are_accessible(chromium, address, app, connection, used, screen, language):
    streams = [OpenStreams(used.key.id, open=3, oldest_ms=7_500_000, messages=1_234_567)]
    replica = Heartbeat(replica="r", service="api", host="a", version="0", mode="enforce", cursor=1, streams=streams)
    replicas.see(connection, [replica])
    with browsing(chromium, address, **screen) as page:
        sign_in(page, used)
        preference = (used.member.id, language, language)
        connection.execute(
            "INSERT INTO member_preference (member_id, locale, language) VALUES (%s, %s, %s)", preference
        )
        page.goto("/calls")
        place = page.locator("#calls a").first.get_attribute("href").removeprefix("/calls/")
        found = [
            path
            for path in pages(app, key_id=used.key.id, member_id=str(used.member.id), place=place)
            if not path.startswith("/operator")
        ]
        assert len(found) >= 12
        inspect(page, *found, "/usage?range=24h")


@SCREENS
def test_signed_out_and_empty_pages_fit_the_screen_and_are_accessible(
    chromium, address, app, connection, customer, screen
):
    given = {"account_id": customer.account.id, "email": "grace@acme.example", "role": "viewer"}
    _, token = invitations.create(connection, **given, actor="test")
    keys.delete(connection, customer.key.id, actor="test")
    with browsing(chromium, address, is_fault=True, **screen) as page:
        inspect(page, "/sign-in", f"/invitation/{token}")
        inspect(page, "/invitation/gone", "/nothing", status=404)
        inspect(page, "/theme", status=405)
        sign_in(page, customer)
        inspect(page, *(path for path in pages(app) if not path.startswith("/operator")))
        inspect(page, "/keys/nothing", "/operator", status=404)


@SCREENS
def test_operator_pages_fit_the_screen_and_are_accessible(chromium, address, app, connection, used, screen):
    given = {"email": "op@example.com", "password": "a long password", "role": "operator"}
    members.create(connection, account_id=None, **given, actor="test")
    with browsing(chromium, address, **screen) as page:
        page.goto("/sign-in")
        page.get_by_label("E-mail address").fill(given["email"])
        page.get_by_label("Password").fill(given["password"])
        page.get_by_role("button", name="Sign in", exact=True).click()
        found = pages(app, "portal.operator.", account_id=used.account.id)
        assert len(found) >= 4
        inspect(page, *found)


def test_form_errors_point_to_the_field_and_say_how_to_fix_it(chromium, address, connection, customer):
    def send(page, button):
        page.evaluate("for (const form of document.forms) form.noValidate = true")
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("alert").first).to_be_visible()
        assert complaints_of_axe(page) == [], page.url

    with browsing(chromium, address, is_fault=True) as page:
        page.goto("/sign-in")
        page.get_by_label("E-mail address").fill(customer.member.email)
        page.get_by_label("Password").fill("wrong")
        send(page, "Sign in")
        expect(page.get_by_label("E-mail address")).to_have_value(customer.member.email)
        expect(page.get_by_label("Password")).to_be_focused()
        sign_in(page, customer)
        page.goto("/keys/new")
        page.get_by_label("Name", exact=True).fill("   ")
        send(page, "Create key")
        page.goto("/members")
        page.get_by_label("E-mail address").fill("nobody")
        send(page, "Create invite link")
        expect(page.get_by_label("E-mail address")).to_have_attribute("aria-invalid", "true")
        page.goto(f"/keys/{customer.key.id}")
        page.get_by_label("Allowed IP addresses and networks").fill("10.0.0.0/99")
        page.locator("#terms").get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").first).to_be_visible()
        expect(page.get_by_label("Allowed IP addresses and networks")).to_have_value("10.0.0.0/99")
        expect(page.get_by_label("Allowed IP addresses and networks")).to_have_attribute("aria-invalid", "true")
        page.goto("/usage?from=2026-05-21&to=2026-05-20")
        expect(page.get_by_role("alert")).to_contain_text("The start date must be before the end date.")
        assert keys.find(connection, customer.key.id).networks == []


def test_browser_shows_the_lock_after_too_many_guesses(chromium, address, customer):
    with browsing(chromium, address, is_fault=True) as page:
        page.goto("/sign-in")
        for _ in range(login_throttle.PER_EMAIL_AND_IP + 1):
            page.get_by_label("E-mail address").fill(customer.member.email)
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("button", name="Sign in", exact=True).click()
            expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("Try again in 15 minutes.")


def test_form_from_another_site_is_rejected(chromium, address, connection, customer):
    other = address.replace("127.0.0.1", "localhost")  # another site to the browser, but the same server
    with browsing(chromium, address, is_fault=True) as page:
        sign_in(page, customer)
        page.route(
            f"{other}/trap",
            lambda route: route.fulfill(
                content_type="text/html",
                body=f"<form method=post action='{address}/keys/{customer.key.id}/delete'><button>Win</button></form>",
            ),
        )
        page.goto(f"{other}/trap")
        page.get_by_role("button", name="Win").click()
        expect(page.get_by_text("This form was submitted from another site and was rejected.")).to_be_visible()
        assert keys.find(connection, customer.key.id).status == "active"


def test_csv_of_a_chosen_range_equals_the_page_and_the_api(chromium, address, app, connection, used, client, operator):
    today = datetime.now(UTC).date()
    first, last = (today - timedelta(days=9)).isoformat(), (today - timedelta(days=2)).isoformat()
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/usage")
        page.goto(f"/usage?from={first}&to={last}&bucket=day")
        expect(page.locator("#chart-usage-wide .column")).to_have_count(8)
        shown = page.locator(".tile", has_text="Tokens").first.locator(".number").get_attribute("title")
        with page.expect_download() as begun:
            page.get_by_text("Export", exact=True).click()
            page.get_by_role("link", name="Over time as CSV", exact=True).click()
        rows = list(csv.DictReader(begun.value.path().read_text().splitlines()))
    query = {"account": used.account.id, "from": f"{first}T00:00:00Z", "to": f"{today - timedelta(days=1)}T00:00:00Z"}
    totals = client.get("/v1/usage", query_string=query, headers=operator).json["totals"]
    for name in ("requests", "input_tokens", "output_tokens"):
        assert sum(int(row[name]) for row in rows) == totals[name] > 0
    assert int(shown.replace(",", "")) == totals["input_tokens"] + totals["output_tokens"]


def test_key_is_not_shown_again_by_going_back(chromium, address, customer):
    with browsing(chromium, address, is_fault=True) as page:
        sign_in(page, customer)
        page.goto("/keys/new")
        page.get_by_label("Name", exact=True).fill("once")
        page.get_by_role("button", name="Create key").click()
        token = page.locator("#token").inner_text()
        page.goto("/usage")
        with suppress(Error):  # Chromium asks whether to resubmit the form
            page.go_back()
        expect(page.locator("body")).not_to_contain_text(token)
        page.goto("/keys")
        assert token not in page.content()


def test_key_is_created_by_keyboard_alone(chromium, address, connection, customer):
    with browsing(chromium, address) as page:
        page.goto("/sign-in")
        expect(page.get_by_label("E-mail address")).to_be_focused()
        page.keyboard.type(customer.member.email)
        page.keyboard.press("Tab")
        page.keyboard.type(customer.password)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=customer.account.name)).to_be_visible()
        page.goto("/keys/new")

        def tab_to(role, name):
            wanted = page.get_by_role(role, name=name, exact=True)
            for _ in range(60):
                page.keyboard.press("Tab")
                if wanted.evaluate("node => node === document.activeElement"):
                    outline = wanted.evaluate("node => getComputedStyle(node).outlineStyle")
                    assert outline == "solid", (role, name)  # the focus is visible
                    return
            pytest.fail(f"Tab leads to no {role} {name!r}")

        expect(page.get_by_label("Name", exact=True)).to_be_focused()
        page.keyboard.type("by keyboard")
        tab_to("button", "Create key")
        page.keyboard.press("Space")
        expect(page.locator("#token")).to_contain_text("kg_live_")
    assert "by keyboard" in {key.name for key in keys.list_keys(connection, customer.account.id)}


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
        expect(page.locator("#chart-usage-wide")).to_be_visible()
        page.get_by_text("View as table").click()
        expect(page.get_by_role("region", name="Usage over time")).to_be_visible()
        page.get_by_label("Date range").select_option("Last 7 days")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("#chart-usage-wide .column")).to_have_count(7)
        page.goto("/keys/new")
        page.get_by_label("Name").fill("no scripts")
        page.get_by_role("button", name="Create key").click()
        expect(page.locator("#token")).to_contain_text("kg_live_")
        expect(page.get_by_role("button", name="Copy key")).to_be_hidden()


def test_member_is_removed_without_scripts_after_confirmation(chromium, address, connection, customer):
    given = {"account_id": customer.account.id, "email": "grace@acme.example", "password": "a long password"}
    members.create(connection, **given, role="viewer", actor="test")
    with browsing(chromium, address, java_script_enabled=False) as page:
        sign_in(page, customer)
        page.goto("/members")
        page.get_by_role("link", name="Remove grace@acme.example").click()
        page.get_by_role("link", name="Cancel").click()
        assert members.list_memberships(connection, "grace@acme.example")
        page.get_by_role("link", name="Remove grace@acme.example").click()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("status")).to_contain_text("Member removed")
    assert not members.list_memberships(connection, "grace@acme.example")


@SCREENS
def test_sign_in_with_a_provider_fits_the_screen_and_is_accessible(chromium, settings, screen):
    provider = Provider("https://idp.example", "keygauge", name="A provider with quite a long name, Inc.")
    app = create_app(replace(settings, oidc=provider))
    with serving(app) as address, browsing(chromium, address, **screen) as page:
        inspect(page, "/sign-in", "/sign-in?next=/keys")
        button = page.get_by_role("link", name=f"Sign in with {provider.name}")
        page.get_by_label("Password").focus()
        for _ in range(2):
            page.keyboard.press("Tab")
        expect(button).to_be_focused()
    app.extensions["keygauge"].close()


def test_dark_theme_is_kept(chromium, address, customer):
    with browsing(chromium, address, color_scheme="light") as page:
        sign_in(page, customer)
        page.goto("/usage?range=7d")
        page.get_by_role("button", name="Dark theme").click()
        assert page.url.endswith("/usage?range=7d")
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        page.goto("/keys")
        expect(page.get_by_role("button", name="Light theme")).to_be_visible()


def test_keyboard_skips_to_the_content(chromium, address, customer):
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.goto("/keys")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()


def test_new_calls_appear_without_a_reload(chromium, address, used, record):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/calls")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        record(used, {"time_us": now_us, "ip": "198.51.100.77"})
        expect(page.get_by_text("198.51.100.77")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        page.locator("#calls a").first.click()
        expect(page.get_by_text("0af7651916cd43dd8448eb211c80319c")).to_be_visible()


def test_chart_bar_links_to_its_calls(chromium, address, used):
    with browsing(chromium, address) as page:
        sign_in(page, used)
        page.goto("/usage?range=7d&bucket=hour")
        hour = f"from={datetime.now(UTC):%Y-%m-%dT%H}:00"
        page.locator(f'#chart-usage-wide .column[href*="{hour}"]').click()
        expect(page.get_by_role("heading", name="Requests", exact=True)).to_be_visible()
        expect(page.locator("#calls tr")).to_have_count(4)


def test_person_joins_by_a_link_and_an_operator_views_the_account(chromium, address, connection, customer):
    members.create(
        connection, account_id=None, email="op@example.com", password="a long password", role="operator", actor="test"
    )
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.get_by_role("link", name="Members").click()
        page.get_by_label("E-mail address").fill("grace@acme.example")
        page.get_by_role("button", name="Create invite link").click()
        link = page.locator("#link").inner_text()
    with browsing(chromium, address) as page:
        page.goto(link)
        assert complaints_of_axe(page) == []
        page.get_by_label("Password", exact=True).fill("a very good password")
        page.get_by_label("Confirm password").fill("a very good password")
        page.get_by_role("button", name="Accept invitation").click()
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
        page.get_by_role("button", name="View as customer").click()
        expect(page.get_by_text("You are viewing this account as the customer.")).to_be_visible()
        page.get_by_role("button", name="Exit").click()
        expect(page.get_by_role("heading", name="Accounts")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 820, 390])
def test_member_in_another_zone_and_language_uses_the_portal_by_keyboard(
    chromium, address, connection, customer, record, settings, monkeypatch, width
):
    monkeypatch.setattr(own_keys, "OFFERED_MAX", 1)
    soon = datetime(2030, 1, 31, 20, 30, tzinfo=UTC)
    keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="second", expires_at=soon, actor="t"
    )
    keys.change(connection, customer.key.id, actor="test", expires_at=datetime.now(UTC) + timedelta(days=3))
    record(customer, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)})
    far = {"timezone_id": "Asia/Kathmandu", "locale": "de-DE", "viewport": {"width": width, "height": 844}}
    with browsing(chromium, address, **far) as page:
        page.goto("/sign-in")
        page.get_by_label("E-Mail-Adresse").fill(customer.member.email)
        page.get_by_label("Passwort").fill(customer.password)
        page.get_by_role("button", name="Anmelden", exact=True).press("Enter")
        expect(page.get_by_text("Zeiten in Asia/Kat")).to_be_visible()  # Chromium uses an older name of the zone
        page.get_by_role("button", name="Ausblenden: ").press("Enter")
        expect(page.get_by_text("Keine Warnungen.")).to_be_visible()
        page.goto("/password")
        page.get_by_label("Uhr").select_option("12 Stunden, 6:00 PM")
        page.get_by_role("button", name="Einstellungen speichern").press("Enter")
        expect(page.get_by_role("status")).to_have_text("Einstellungen gespeichert.")
        page.goto("/usage")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#key-labels option").count() == 1
        page.get_by_label("Schlüssel", exact=True).press_sequentially("seco")
        expect(page.locator('#key-labels option[value="second"]')).to_have_count(1)
        page.get_by_label("Schlüssel", exact=True).press_sequentially("nd")
        page.keyboard.press("Tab")
        page.wait_for_url("**key=second*")
        expect(page.get_by_role("heading", name="Keine Nutzung in diesem Zeitraum")).to_be_visible()
        page.goto("/keys?sort=-expires")
        page.get_by_role("link", name="second").press("Enter")
        expect(page.get_by_text("01.02.2030, 2:15 AM UTC+05:45", exact=True)).to_be_visible()


def test_operator_views_customer_pages_without_forms(chromium, address, connection, customer):
    operator = {"email": "op@example.com", "password": "a long password", "role": "operator"}
    members.create(connection, account_id=None, **operator, actor="test")
    with browsing(chromium, address, viewport=PHONE) as page:
        page.goto("/sign-in")
        page.get_by_label("E-mail address").fill(operator["email"])
        page.get_by_label("Password").fill(operator["password"])
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.goto(f"/operator/accounts/{customer.account.id}")
        page.get_by_label("E-mail address").fill("grace@acme.example")
        page.get_by_role("button", name="Create invite link").click()
        expect(page.locator("#link")).to_contain_text("/invitation/")
        page.get_by_role("link", name="Back to the account").click()
        page.get_by_role("button", name="View as customer").click()
        for path in ("/", "/keys", f"/keys/{customer.key.id}", "/members", "/notifications", "/billing", "/usage"):
            page.goto(path)
            expect(page.get_by_text("Changes are turned off.")).to_be_visible()
            buttons = page.locator("main form[method=post] button")
            assert buttons.count() == 0, (path, buttons.first.inner_text())
        page.get_by_role("button", name="Exit").click()
        expect(page.get_by_role("heading", name="Accounts")).to_be_visible()


@pytest.mark.parametrize("width", [390, 360])
def test_phone_shows_the_current_page_in_the_navigation_and_no_table_cut_off(chromium, address, customer, used, width):
    with browsing(chromium, address, viewport=PHONE | {"width": width}, locale="de-DE") as page:
        page.goto("/")
        page.get_by_label("E-Mail-Adresse").fill(customer.member.email)
        page.get_by_label("Passwort").fill(customer.password)
        page.get_by_role("button", name="Anmelden").click()
        expect(page.get_by_role("heading", name=customer.account.name)).to_be_visible()
        for path in ("/", "/billing", "/members", "/notifications", "/keys", "/calls", "/usage"):
            page.goto(path)
            link = page.locator(".top nav [aria-current]").bounding_box()
            assert 0 <= link["x"] <= width - link["width"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            tables = "[...document.querySelectorAll('main table:not(details table)')]"
            assert page.evaluate(f"{tables}.every(one => one.scrollWidth <= one.parentElement.clientWidth)"), path
            assert page.evaluate(CRAMPED) == [], path


def test_phone_lists_keys_in_low_cards_and_sorts_them(chromium, address, connection, customer, settings):
    given = {"peppers": settings.peppers, "account_id": customer.account.id, "actor": "a.colleague@acme.example"}
    keys.create(connection, name="a key with quite a long name", **given)
    with browsing(chromium, address, viewport=PHONE) as page:
        sign_in(page, customer)
        page.goto("/keys")
        cards = page.locator("table.keys tbody tr")
        assert all(card.bounding_box()["height"] < 210 for card in cards.all())
        page.get_by_role("link", name="Name", exact=True).click()
        expect(cards.first).to_contain_text("a key with")
        cards.first.get_by_text("Actions", exact=True).click()
        for action in cards.first.locator(".row-menu .button, .row-menu button").all():
            box = action.bounding_box()
            assert 0 <= box["x"] <= PHONE["width"] - box["width"]
        cards.first.get_by_role("link", name="View usage").click()
        expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()


def test_all_keys_of_a_page_are_selected_at_once(chromium, address, connection, customer, settings):
    keys.create(connection, peppers=settings.peppers, account_id=customer.account.id, name="second", actor="test")
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.goto("/keys")
        every = page.get_by_label("Select all on this page")
        every.press("Space")
        expect(page.get_by_label("Select second")).to_be_checked()
        page.get_by_label("Select second").press("Space")
        expect(every).not_to_be_checked()
        assert every.evaluate("one => one.indeterminate")
        every.press("Space")
        page.get_by_role("button", name="Disable selected").press("Enter")
        expect(page.get_by_role("cell", name="Disabled")).to_have_count(2)


def test_menus_close_with_escape_and_by_a_click_elsewhere(chromium, address, customer):
    with browsing(chromium, address) as page:
        sign_in(page, customer)
        page.goto("/keys")
        for menu in (page.locator(".menu"), page.locator(".row-menu").first):
            menu.locator("summary").press("Enter")
            expect(menu).to_have_attribute("open", "")
            page.keyboard.press("Escape")
            expect(menu).not_to_have_attribute("open", "")
            expect(menu.locator("summary")).to_be_focused()
            menu.locator("summary").click()
            page.get_by_role("heading", name="Keys", exact=True).click()
            expect(menu).not_to_have_attribute("open", "")
