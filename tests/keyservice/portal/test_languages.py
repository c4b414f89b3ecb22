"""All texts come from the translation files.

In a made-up language, each translation is its message in brackets; any letters outside brackets must be data.
"""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts, invitations, members, plans, preferences, tokens
from keygauge_keyservice.accounts.preferences import Preferences
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.portal import languages
from keygauge_keyservice.pricing import own_prices

MADE_UP, FORMAT = "eo", "ja"  # dates in this format have no letters
LANGUAGE_HEADERS = {"Accept-Language": f"{MADE_UP}, {FORMAT};q=0.5"}
READ_ATTRIBUTES = {"title", "placeholder", "aria-label", "alt", "data-name", "data-done", "data-blocked", "data-pause"}
UNREAD = {"script", "style", "code", "pre"}
WORDS = re.compile(r"[A-Za-z]{2,}")
DATA = re.compile(
    r"""[\w.+-]+@[\w.-]+ | kg_(?:live|test)_\w{4}… | [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} | /v1/[\w/]+
    | \b(?:gpt-4o-mini|openai|[245]xx|(?-i:test)|Pro|rpm|KeyGauge|CSV|JSON|UTC|GET|POST|ms|English|esperanto|Deutsch)\b
    | [\d.,]+[kMBT]\b
    | \d+\ \w{3}\ \d{4}.* | \w{3}\ \d+,\ \d{4}.* | \d+\.\ \w{3}\.\ \d{4}.* | \d+\ (?:janv\.|ene|de\ jan\.).*""",
    re.VERBOSE | re.IGNORECASE,
)
PASSWORD = "correct horse battery"


class Texts(HTMLParser):
    """The texts of a page: its text nodes and the attributes that people read."""

    def __init__(self):
        super().__init__()
        self.told, self.shown, self.unread, self.lang = [], [], 0, None

    def handle_starttag(self, tag, attrs):
        self.unread += tag in UNREAD
        self.lang = dict(attrs).get("lang") if tag == "html" else self.lang
        self.told += [value for name, value in attrs if name in READ_ATTRIBUTES and value]

    def handle_endtag(self, tag):
        self.unread -= tag in UNREAD

    def handle_data(self, data):
        self.shown.append("\x1f" if self.unread else data)  # a text may contain values with markup


def outside(text):
    """Return a text with everything in brackets replaced by spaces."""
    depth, left = 0, []
    for character in text:
        depth += character == "⟦"
        left.append(character if depth == 0 else " ")
        depth -= character == "⟧"
    assert depth == 0, text
    return "".join(left)


def untranslated(page, *data):
    """Return the texts of a page that have letters outside brackets other than `data`."""
    texts = Texts()
    texts.feed(page)
    assert texts.lang == MADE_UP or "<html" not in page
    shown = outside("\x1f".join(texts.shown)).split("\x1f")
    found = []
    for text in [*shown, *map(outside, texts.told)]:
        left = text
        for name in data:
            left = left.replace(name, " ")
        if WORDS.search(DATA.sub(" ", left)):
            found.append(text.strip())
    return found


def write(app, folder, translations):
    """Add a language to the app."""
    catalogue = Catalog(locale=MADE_UP)
    for message, text in translations.items():
        catalogue.add(message, text)
    file = folder / MADE_UP / "LC_MESSAGES" / "keygauge.po"
    file.parent.mkdir(parents=True)
    with file.open("wb") as target:
        write_po(target, catalogue)
    app.extensions["keygauge_languages"][MADE_UP] = languages.read(file)


@pytest.fixture
def made_up(app, tmp_path):
    """Add a language to the app in which each translation is its message in brackets."""
    with (languages.LOCALES / "keygauge.pot").open("rb") as source:
        messages = [message.id for message in read_po(source) if message.id]
    write(
        app,
        tmp_path,
        {
            message: f"⟦{message}⟧" if isinstance(message, str) else tuple(f"⟦{form}⟧" for form in message)
            for message in messages
        },
    )


@pytest.fixture
def full(connection, make_customer, record, settings):
    """An account with data on every page and without Latin letters in its names."""
    full = make_customer("甲")
    now = datetime.now(UTC)
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="丁")
    connection.execute("DELETE FROM plan_price_before")
    plans.create(connection, plan_id="9", name="辛", limits=[], actor="丁")
    for plan_id in ("pro", "9"):
        plans.set_terms(connection, plan_id, prorated=True, self_service=True, actor="丁")
    connection.execute("UPDATE account SET created_at = '2026-04-15T12:00:00Z'")
    connection.execute("UPDATE key SET name = '己', created_by = '丁', rotate_every_days = 1")
    keys.change(connection, full.key.id, actor="丁", expires_at=now + timedelta(days=3), app="戊")
    old, _ = keys.create(connection, peppers=settings.peppers, account_id=full.account.id, name="庚", actor="丁")
    keys.delete(connection, old.id, actor="丁")
    calls = (
        {"model": "乙-1", "details": {"web_searches": 2}, "stream": "sse", "messages": 3, "error": "戊", "tag": "丙"},
        {"model": "乙-2", "status": 429, "outcome": "limited", "limit": "壬"},
        {"model": None, "status": 500, "outcome": "degraded", "usage_status": "none"},
        *({"status": 401, "outcome": "forbidden"} for _ in range(30)),
    )
    record(full, *calls)
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    record(full, *(call | {"time_us": int(now.timestamp() * 1_000_000)} for call in calls))
    channels.create(
        connection, account_id=full.account.id, form="webhook", target="https://1.2.3.4/", kinds=["quota"], actor="丁"
    )
    [channel] = channels.list_channels(connection, full.account.id)
    outbox.add_test(connection, account_id=full.account.id, channel_id=channel.id)
    connection.execute("UPDATE notice SET subject = '癸'")  # notices are data
    invitations.create(connection, account_id=full.account.id, email="2@1.example", role="viewer", actor="丁")
    rates = Rates(
        above=-1, input=1, output=1, cache_read=1, cache_write=1, reasoning=1, request=0, details={"images": 5}
    )
    own_prices.set_price(
        connection, model="乙-1", tiers=[rates], valid_from=now, provider=None, account_id=None, actor="丁"
    )
    return full


@pytest.fixture
def enter(app, visitor, connection, made_up, full):
    """`enter(role)` signs in a new member who reads the made-up language."""

    def enter(role, account_id=full.account.id):
        member = members.create(
            connection,
            account_id=None if role == "operator" else account_id,
            email=f"{role}.2@{account_id}.example",
            password=PASSWORD,
            role=role,
            actor="丁",
        )
        preferences.save(connection, member.id, Preferences("UTC", FORMAT, 24, MADE_UP))
        browser = type(visitor)(app.test_client())
        browser.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = MADE_UP  # for errors before the member is known
        assert browser.client.post("/sign-in", data={"email": member.email, "password": PASSWORD}).status_code == 303
        return browser

    return enter


@pytest.fixture
def check(full):
    """`check(answer)` adds untranslated texts to `check.found`."""
    found = []
    data = ["甲 key", full.account.id, full.key.id, full.key.id[:4]]

    def check(answer):
        assert answer.status_code < 500, answer.request.path
        if answer.mimetype == "text/html" and answer.status_code not in {302, 303, 308}:
            found.extend(f"{answer.request.path}: {text}" for text in untranslated(answer.text, *data))

    check.found, check.data = found, data
    return check


OF_ACCOUNT = (
    *("/", "/keys", "/keys?q=zz", "/keys/new", "/keys/{key}", "/keys/{key}/delete", "/usage", "/billing", "/audit"),
    *("/usage?from=2026-05-19&to=2026-05-21", "/usage?from=2026-05-19&to=2026-05-21&group=endpoint&metric=cost"),
    *("/usage?from=2026-05-19&to=2026-05-21&group=tag&chart=table", "/usage?from=2026-05-19&to=2026-05-21&group=key"),
    *("/usage?from=2026-05-19&to=2026-05-21&model=x", "/usage?from=x", "/usage?from=2026-01-02&to=2026-01-01"),
    *("/usage?from=2024-05-19&to=2026-05-21&bucket=week&group=model&metric=tokens", "/audit?action=key"),
    *("/usage?from=2026-05-19&to=2026-05-21&group=status&metric=latency", "/usage?key={key}&metric=errors"),
    *("/calls", "/calls?from=2026-05-19&to=2026-05-21", "/calls?model=zz", "/members", "/tokens", "/notifications"),
    *("/password", "/audit?subject={key}", "/password?notice=saved", "/keys?notice=sent-before", "/keys?only=active"),
    *("/members?notice=removed", "/tokens?notice=revoked", "/notifications?notice=tested", "/keys/{key}?notice=active"),
    *("/keys?notice=active&count=2", "/keys?notice=active&key={key}", "/members/{member}/remove", "/live"),
    *("/nothing", "/keys/0", "/calls/0", "/audit?before=x", "/calls?status=0", "/billing/invoices/2020-01"),
    *("/billing/plan/0", "/billing/plan/9"),
    *("/billing/invoices/2026-05", "/usage?key=0", "/calls?from=2026-05-19&to=2026-05-21&status=4xx"),
    *("/usage.csv?table=0", "/usage?range=today", "/calls?range=24h", "/calls?range=24h&live=1", "/usage?x=%00"),
)
OF_OPERATOR = (
    *("/operator", "/operator?q=zz", "/operator?notice=plan", "/operator/keys", "/operator/keys?q=zz", "/nothing"),
    *("/operator/plans", "/operator/prices", "/operator/prices?notice=added", "/operator/accounts/{account}"),
    *(
        "/operator/accounts/{account}/suspend",
        "/operator/accounts/0",
        "/password",
        "/operator/accounts/{account}?notice=paid",
    ),
)
WRONG_KEY = {
    "name": "",
    "environment": "0",
    "lifetime": "",
    "networks": "0",
    "routes": "0",
    "models": "-",
    "scopes": "-",
    "rotate_every_days": "0",
    "amount-0": "1",
    "unit-0": "concurrent",
    "per-0": "60",
    "zone-0": "0",
    "amount-1": "0.5",
    "unit-1": "request",
    "per-1": "month",
    "anchor-1": "0",
}
FORMS = (  # path, fields, page with the form
    ("/keys", WRONG_KEY, "/keys/new"),
    ("/keys/{key}", WRONG_KEY, "/keys/{key}"),
    ("/keys/{key}/limits", WRONG_KEY, "/keys/{key}"),
    ("/keys/{key}/limits", {"amount-0": "5", "unit-0": "nanousd", "per-0": "month", "model-0": "乙"}, "/keys/{key}"),
    ("/keys/{key}/limits", {"amount-0": "5", "unit-0": "0", "per-0": "0x"}, "/keys/{key}"),
    ("/keys/{key}/rotate", {"grace": "0"}, "/keys/{key}"),
    ("/keys/{key}/rotate", {"grace": "x"}, "/keys/{key}"),
    ("/keys", {"name": "丑", "environment": "test", "lifetime": "30"}, "/keys/new"),
    ("/keys/selected", {"action": "deleted", "key": "{key}"}, "/keys"),
    ("/members", {"email": "0", "role": "owner"}, "/members"),
    ("/billing/plan/0", {}, "/keys"),
    ("/billing/plan/9", {}, "/billing/plan/9"),
    ("/billing/plan/pro", {}, "/keys"),
    ("/members", {"email": "{email}", "role": "owner"}, "/members"),
    ("/members", {"email": "3@1.example", "role": "viewer"}, "/members"),
    ("/members", {"email": "3@1.example", "role": "0"}, "/members"),
    ("/members/{member}/role", {"role": "0"}, "/members"),
    ("/notifications", {"form": "email", "target": "0"}, "/notifications"),
    ("/notifications", {"form": "slack", "target": "0", "kinds": "quota"}, "/notifications"),
    ("/notifications", {"form": "webhook", "target": "https://1.2.3.4/", "kinds": "quota"}, "/notifications"),
    ("/tokens", {"name": "", "scope": "read", "lifetime": ""}, "/tokens"),
    ("/tokens", {"name": "丑", "scope": "0", "lifetime": ""}, "/tokens"),
    ("/tokens", {"name": "丑", "scope": "read", "lifetime": "90"}, "/tokens"),
    ("/password", {"old": "0", "new": "0", "again": "1"}, "/password"),
    ("/password", {"old": "0", "new": "0", "again": "0"}, "/password"),
    ("/password", {"old": PASSWORD, "new": "0", "again": "0"}, "/password"),
    ("/password", {"old": PASSWORD, "new": "password1234", "again": "password1234"}, "/password"),
    ("/password/preferences", {"zone": "0"}, "/password"),
    ("/password/account", {"member": "0"}, "/password"),
    ("/alerts/dismiss", {"name": "0"}, "/"),
    ("/keys/{key}/status", {"csrf": "0"}, "/keys"),
)
OPERATORS_FORMS = (
    ("/operator/accounts", {"name": "", "plan": "pro"}, "/operator"),
    ("/operator/accounts", {"name": "丑", "plan": "0"}, "/operator"),
    ("/operator/accounts/{account}/status", {"status": "0"}, "/operator"),
    ("/operator/accounts/{account}/notes", {"text": ""}, "/operator"),
    ("/operator/accounts/{account}/notes", {"text": "丑"}, "/operator"),
    ("/operator/accounts/{account}/members", {"email": "0", "role": "owner"}, "/operator"),
    ("/operator/accounts/{account}/members", {"email": "4@1.example", "role": "owner"}, "/operator"),
    ("/operator/accounts/{account}/invoices", {"period": "0"}, "/operator"),
    ("/operator/prices", {"model": "", "input": "x", "output": "-1"}, "/operator/prices"),
)


def send(browser, form, **values):
    path, fields, page = form
    fields = {name: text.format(**values) for name, text in fields.items()}
    return browser.post(path.format(**values), fields, page=page.format(**values))


def of(full):
    return {
        "key": full.key.id,
        "member": full.member.id,
        "email": full.member.email,
        "account": full.account.id,
    }


@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_every_page_of_an_account_is_translated(connection, full, enter, check, role):
    browser = enter(role)
    for path in OF_ACCOUNT:
        check(browser.get(path.format(**of(full))))
    place = re.search(r"/calls/([^\"?.]+)\"", browser.get("/calls?from=2026-05-19&to=2026-05-21").text)[1]
    check(browser.get(f"/calls/{place}"))
    for form in FORMS if role == "owner" else FORMS[:2]:
        check(send(browser, form, **of(full)))
    check.data += [token.id for token in tokens.list_tokens(connection, account_id=full.account.id)]
    for path in ("/", "/keys", "/keys/{key}", "/audit", "/billing", "/members", "/tokens", "/notifications"):
        check(browser.get(path.format(**of(full))))
    assert "\n".join(check.found) == ""


def test_pages_of_an_empty_account_are_translated(connection, enter, check):
    empty = accounts.create(connection, name="戊", plan_id="pro", actor="丁")
    browser = enter("owner", empty.id)
    for path in ("/", "/keys", "/usage", "/calls", "/billing", "/audit", "/members", "/tokens", "/notifications"):
        check(browser.get(path))
    assert [text for text in check.found if empty.id not in text] == []


def test_operator_pages_are_translated(full, enter, check):
    browser = enter("operator")
    for path in OF_OPERATOR:
        check(browser.get(path.format(**of(full))))
    for form in OPERATORS_FORMS:
        check(send(browser, form, **of(full)))
    browser.post("/operator/accounts/{account}/status".format(**of(full)), {"status": "suspended"}, page="/operator")
    browser.post("/operator/accounts/{account}/view".format(**of(full)), page="/operator")
    for path in ("/", "/keys", "/billing", "/audit", "/keys/new"):
        check(browser.get(path))
    assert "\n".join(check.found) == ""


def test_pages_before_signing_in_are_translated(connection, made_up, full, visitor, check):
    _, token = invitations.create(connection, account_id=full.account.id, email="5@1.example", role="owner", actor="丁")
    for path in ("/sign-in", f"/invitation/{token}", "/invitation/0", "/nothing", "/sign-in/sso"):
        check(visitor.get(path, headers=LANGUAGE_HEADERS | {"Accept": "text/html"}))
    wrong = ({"email": "0"}, {"email": "6@1.example", "password": "0"}, {"email": "\0"})
    for form in wrong:
        check(visitor.client.post("/sign-in", data=form, headers=LANGUAGE_HEADERS))
    for form in ({"password": "0", "again": "1"}, {"password": "0", "again": "0"}):
        check(visitor.client.post(f"/invitation/{token}", data=form, headers=LANGUAGE_HEADERS))
    check(visitor.client.post("/sign-in", data={}, headers=LANGUAGE_HEADERS | {"Sec-Fetch-Site": "cross-site"}))
    check(visitor.client.put("/sign-in", headers=LANGUAGE_HEADERS | {"Accept": "text/html"}))
    assert "\n".join(check.found) == ""


def test_every_page_is_checked(app):
    """A new page fails here until it is in one of the lists above."""
    pages = {rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint.startswith("portal.")}
    told = {
        app.url_map.bind("").match(re.sub(r"{\w+}", "1", path).partition("?")[0], method)[0]
        for method, paths in (
            ("GET", [*OF_ACCOUNT, *OF_OPERATOR, "/sign-in", "/invitation/1", "/calls/1", "/sign-in/sso"]),
            ("POST", [form[0] for form in (*FORMS, *OPERATORS_FORMS)] + ["/sign-in", "/invitation/1"]),
        )
        for path in paths
        if app.url_map.bind("").test(re.sub(r"{\w+}", "1", path).partition("?")[0], method)
    }
    files = ("csv", "json", "export", "export_csv", "export_json", "export_one", "read_one", "export_focus")
    answers_without_a_page = {  # files and redirects
        *(name for name in pages if name.rpartition(".")[2] in files),
        *("portal.assets.read", "portal.key_choice.find", "portal.audit.read", "portal.billing.read"),
        *("portal.sign_in.leave", "portal.sign_in.set_theme", "portal.single_sign_on.finish"),
        *("portal.operator.search", "portal.operator.change_plans", "portal.operator.change_plan"),
        *("portal.operator.set_key_status", "portal.operator.view_account", "portal.operator.leave"),
        *("portal.keys.delete", "portal.members.remove", "portal.members.withdraw", "portal.tokens.revoke"),
        *("portal.notifications.test", "portal.notifications.remove", "portal.notifications.rotate"),
    }
    assert pages - told - answers_without_a_page == set()


def test_english_is_the_default_language(signed_in):
    page = signed_in.get("/keys").text
    assert '<html lang="en"' in page
    assert "Create key" in page


@pytest.mark.parametrize(
    ("header", "chosen", "shown"), [("eo", None, "eo"), ("eo", "en", "en"), ("en", "eo", "eo"), ("xx", "xx", "en")]
)
def test_preference_comes_before_the_browser_language(connection, customer, signed_in, made_up, header, chosen, shown):
    preferences.save(connection, customer.member.id, Preferences(None, None, None, chosen))
    assert f'<html lang="{shown}"' in signed_in.get("/", headers={"Accept-Language": header}).text


def test_language_is_saved_in_the_settings(connection, customer, signed_in, made_up):
    assert signed_in.post("/password/preferences", {"language": MADE_UP}, page="/password").status_code == 303
    assert preferences.find(connection, customer.member.id).language == MADE_UP
    signed_in.post("/password/preferences", {"language": "xx"}, page="/password")
    assert preferences.find(connection, customer.member.id).language is None


def test_api_stays_english_after_a_page_in_another_language(full, enter, app):
    enter("owner").get("/keys/0")
    answer = app.test_client().get("/v1/keys/0", headers={"Authorization": "Bearer 0", "Accept-Language": MADE_UP})
    assert "⟦" not in answer.text


def test_translations_are_escaped(app, tmp_path, visitor):
    hostile = '<script>alert(1)</script>" onload="alert(1)'
    write(app, tmp_path, {"Sign in": hostile, "E-mail address": hostile, "Light theme": hostile})
    page = visitor.get("/sign-in", headers=LANGUAGE_HEADERS).text
    assert "<script>alert" not in page
    assert '" onload' not in page
    assert "&lt;script&gt;alert(1)" in page


def test_text_without_a_translation_stays_english(app, tmp_path, visitor):
    write(app, tmp_path, {"Sign in": "Ensalutu"})
    page = visitor.get("/sign-in", headers=LANGUAGE_HEADERS).text
    assert "Ensalutu" in page
    assert "Manage your API keys and usage." in page


@pytest.mark.parametrize("file", sorted(languages.LOCALES.glob("*/*/*.po")), ids=lambda file: file.parent.parent.name)
def test_shipped_translations_are_complete(file):
    with file.open("rb") as source, (languages.LOCALES / "keygauge.pot").open("rb") as template:
        catalogue, messages = read_po(source, locale=file.parent.parent.name), read_po(template)
    assert [(message.id, list(map(str, errors))) for message, errors in catalogue.check()] == []
    missing = [message.id for message in messages if message.id and not is_translated(catalogue.get(message.id))]
    assert missing == []


def is_translated(message):
    forms = message.string if message and isinstance(message.string, tuple) else (message and message.string,)
    return bool(message) and all(forms) and not message.fuzzy
