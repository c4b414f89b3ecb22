"""A customer with a signed-in member, a stranger with another account, and an operator."""

import itertools
import re
from dataclasses import dataclass

import pytest

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.accounts.plans import Limit
from keygauge_keyservice.keys import keys
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.pricing.public_prices import PublicPrices

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Customer:
    account: accounts.Account
    member: members.Member
    key: keys.Key
    token: str
    password: str = PASSWORD


@dataclass(frozen=True)
class Visitor:
    """A browser that reads a form's hidden fields before it submits the form."""

    client: object

    def get(self, path, **options):
        return self.client.get(path, **options)

    def sign_in(self, customer, *, password=None, **options):
        form = {"email": customer.member.email, "password": password or customer.password}
        return self.client.post("/sign-in", data=form, **options)

    def hidden(self, path="/keys"):
        page = self.client.get(path).text
        return dict(re.findall(r'<input type="hidden" name="(csrf|form_id)" value="([^"]+)"', page))

    def post(self, path, form=None, *, page=None):
        page = page or ("/keys/new" if path == "/keys" else "/keys")
        return self.client.post(path, data=self.hidden(page) | (form or {}))


@pytest.fixture
def make_customer(connection, settings):
    plans.create(
        connection,
        plan_id="pro",
        name="Pro",
        limits=[
            Limit(name="rpm", unit="request", amount=600, window_s=60),
            Limit(name="monthly_requests", unit="request", amount=20_000, period="month"),
        ],
        actor="test",
    )

    domains = itertools.count(1)

    def make(name, *, role="owner"):
        account = accounts.create(connection, name=name, plan_id="pro", actor="test")
        member = members.create(
            connection,
            account_id=account.id,
            email=f"{role}@{next(domains)}.example",  # no random text that a search might match
            password=PASSWORD,
            role=role,
            actor="test",
        )
        key, token = keys.create(
            connection, peppers=settings.peppers, account_id=account.id, name=f"{name} key", actor="test"
        )
        return Customer(account, member, key, token)

    return make


@pytest.fixture
def customer(make_customer):
    return make_customer("Acme")


@pytest.fixture
def stranger(make_customer):
    return make_customer("Globex")


@pytest.fixture
def visitor(app):
    """A visitor who is not signed in."""
    return Visitor(app.test_client())


@pytest.fixture
def signed_in(app, customer):
    """The customer's member, signed in."""
    visitor = Visitor(app.test_client())
    assert visitor.sign_in(customer).status_code == 303
    return visitor


@pytest.fixture
def record(connection, make_event):
    """`record(customer, *calls)` adds calls of a customer's key to the ledger and its roll-ups."""
    spools = iter(f"{number:032x}" for number in range(1000))

    def record(customer, *calls):
        events = [make_event()._replace(account=customer.account.id, key=customer.key.id, **call) for call in calls]
        receipt = ingest.take_events(connection, next(spools), 0, events, PublicPrices())
        assert receipt.accepted == len(events)

    return record


@pytest.fixture
def invite(signed_in):
    def invite(email="new@acme.example", role="member"):
        answer = signed_in.post("/members", {"email": email, "role": role}, page="/members")
        assert answer.status_code == 200, answer.text
        return re.search(r"http://localhost(/invitation/[^<]+)<", answer.text)[1]

    return invite


@pytest.fixture
def operating(app, connection, visitor):
    """An operator, signed in."""
    members.create(
        connection, account_id=None, email="op@example.com", password=PASSWORD, role="operator", actor="test"
    )
    operating = type(visitor)(app.test_client())
    form = {"email": "op@example.com", "password": PASSWORD}
    assert operating.client.post("/sign-in", data=form).status_code == 303
    return operating
