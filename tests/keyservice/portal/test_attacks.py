"""Attacks on the portal and the API, which must fail."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from keygauge_keyservice.accounts import invitations, login_throttle, members, memberships, passwords
from keygauge_keyservice.app import API
from keygauge_keyservice.openapi import document

HTTPS = {"base_url": "https://keys.example"}
PASSWORD = "correct horse battery"
FORGED = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}


def invite(connection, customer, email="grace@acme.example", *, role="member", actor=None, by_operator=False):
    given = {"account_id": customer.account.id, "email": email, "role": role, "by_operator": by_operator}
    return invitations.create(connection, **given, actor=actor or customer.member.email)[1]


def join(app, token):
    form = {"password": PASSWORD, "again": PASSWORD}
    return app.test_client().post(f"/invitation/{token}", data=form).status_code


# Guessing


def test_concurrent_attempts_for_many_addresses_stay_within_the_limit_of_their_ip(app, connection):
    services = app.extensions["keygauge"]

    def attempt(number):
        with services.connection() as one:
            return login_throttle.admit(one, email=f"{number}@example.com", ip="192.0.2.1")

    with ThreadPoolExecutor(8) as threads:
        admitted = list(threads.map(attempt, range(login_throttle.PER_IP + 16)))
    assert sum(admitted) == login_throttle.PER_IP


def test_lock_is_not_evaded_by_a_forged_ip_address(visitor, customer):
    for number in range(login_throttle.PER_EMAIL_AND_IP):
        visitor.sign_in(customer, password="wrong", headers={"X-Forwarded-For": f"192.0.2.{number}"})
    assert visitor.sign_in(customer, headers={"X-Forwarded-For": "192.0.2.99"}).status_code == 429


def test_unknown_address_takes_as_much_work_as_a_wrong_password(visitor, customer, monkeypatch):
    compared = []
    verify = passwords.verify

    def record(password_hash, password):
        compared.append(password)
        return verify(password_hash, password)

    monkeypatch.setattr(passwords, "verify", record)
    for email in (customer.member.email, "nobody@example.com"):
        answer = visitor.client.post("/sign-in", data={"email": email, "password": f"wrong for {email}"})
        assert answer.status_code == 422
    assert compared == [f"wrong for {customer.member.email}", "wrong for nobody@example.com"]


def test_known_browser_is_not_locked_out_by_guesses_from_the_same_ip(app, visitor, customer):
    assert visitor.sign_in(customer).status_code == 303
    stranger = app.test_client()
    form = {"email": customer.member.email, "password": "wrong"}
    for _ in range(login_throttle.PER_EMAIL_AND_IP + 1):  # from the same office
        stranger.post("/sign-in", data=form)
    assert stranger.post("/sign-in", data=form | {"password": customer.password}).status_code == 429
    assert visitor.sign_in(customer).status_code == 303


def test_known_browser_is_locked_after_too_many_guesses(visitor, customer):
    visitor.sign_in(customer)
    statuses = [visitor.sign_in(customer, password="wrong").status_code for _ in range(login_throttle.PER_DEVICE + 1)]
    assert statuses[-2:] == [422, 429]


def test_ipv6_network_counts_as_one_address(connection):
    def admit(number):
        ip = f"2001:db8::{number:x}"
        return login_throttle.admit(connection, email="ada@example.com", ip=ip)

    assert [admit(number) for number in range(login_throttle.PER_EMAIL_AND_IP + 1)][-1] is False


def test_ipv4_mapped_addresses_count_separately(connection):
    def admit(number):
        return login_throttle.admit(connection, email=f"{number}@example.com", ip="::ffff:192.0.2.1")

    assert [admit(number) for number in range(login_throttle.PER_IP + 1)][-1] is False
    assert login_throttle.admit(connection, email="ada@example.com", ip="::ffff:192.0.2.2")


# Links


def test_responses_never_contain_the_host_that_a_request_claims(visitor, signed_in, customer):
    answers = [visitor.get("/keys", headers=FORGED), visitor.sign_in(customer, headers=FORGED)]
    answers += [signed_in.get("/sign-in", headers=FORGED), signed_in.get("/operator/", headers=FORGED)]
    for answer in answers:
        assert "evil.example" not in (answer.location or ""), answer.request.path
        assert "evil.example" not in answer.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example/", "/%09/evil.example\n"]
)
def test_theme_and_sign_in_do_not_redirect_to_other_sites(visitor, signed_in, target):
    assert visitor.client.post("/theme", data={"theme": "dark", "next": target}).location == "/"
    assert signed_in.get("/sign-in", query_string={"next": target}).location == "/"


# Invitations


def test_link_works_once_for_concurrent_requests(app, connection, customer):
    token = invite(connection, customer)
    with ThreadPoolExecutor(4) as threads:  # as many as may hash a password or wait to do so
        statuses = sorted(threads.map(lambda _: join(app, token), range(4)))
    assert statuses == [303] + [404] * 3


def test_link_is_invalid_after_it_expires_or_another_is_created(app, connection, customer):
    old, new = invite(connection, customer), invite(connection, customer)
    assert join(app, old) == 404
    connection.execute("UPDATE invitation SET ends_at = clock_timestamp()")
    assert join(app, new) == 404


def test_removed_member_cannot_rejoin_with_an_older_link(app, connection, customer):
    assert join(app, invite(connection, customer)) == 303
    grace = members.list_memberships(connection, "grace@acme.example")[0]
    for_her, by_her = (
        invite(connection, customer),
        invite(connection, customer, "other@acme.example", actor=grace.email),
    )
    members.remove(connection, customer.account.id, grace.id, actor="test")
    assert join(app, for_her) == 404
    assert join(app, by_her) == 404


def test_links_of_an_owner_who_becomes_a_viewer_are_invalid(app, connection, customer):
    assert join(app, invite(connection, customer, role="owner")) == 303
    grace = members.list_memberships(connection, "grace@acme.example")[0]
    backdoor = invite(connection, customer, "spare@acme.example", role="owner", actor=grace.email)
    members.set_role(connection, customer.account.id, grace.id, "viewer", actor="test")
    assert join(app, backdoor) == 404


def test_link_does_not_raise_the_role_of_a_member(app, connection, customer):
    assert join(app, invite(connection, customer, role="owner")) == 303
    grace = members.list_memberships(connection, "grace@acme.example")[0]
    link = invite(connection, customer, role="owner", by_operator=True)
    members.set_role(connection, customer.account.id, grace.id, "viewer", actor="test")
    assert join(app, link) == 404
    assert members.list_memberships(connection, "grace@acme.example")[0].role == "viewer"


@pytest.mark.parametrize("role", ["operator", "Owner", "admin", "", "owner "])
def test_no_form_creates_an_operator(signed_in, connection, customer, role):
    form = {"email": "new@acme.example", "role": role}
    assert signed_in.post("/members", form, page="/members").status_code == 422
    path = f"/members/{customer.member.id}/role"
    assert signed_in.post(path, {"role": role}, page="/members").status_code == 422
    assert connection.execute("SELECT count(*) AS n FROM member WHERE role = 'operator'").fetchone()["n"] == 0


def test_operator_viewing_an_account_is_audited_there(connection, visitor, signed_in, customer):
    given = {"email": "op@example.com", "password": PASSWORD, "role": "operator"}
    members.create(connection, account_id=None, **given, actor="test")
    visitor.client.post("/sign-in", data=given)
    visitor.post(f"/operator/accounts/{customer.account.id}/view", page="/operator")
    assert visitor.get("/keys").status_code == 200
    [entry] = signed_in.get("/audit.json?action=account.view").json["entries"]
    assert (entry["actor"], entry["subject"]) == ("op@example.com", customer.account.id)


# Pages


def test_keys_of_others_look_like_unknown_keys(signed_in, customer, stranger):
    pages = {
        key_id: [
            (answer.status_code, answer.text.replace(key_id, ""))
            for path in ("/keys/{}", "/keys/{}/delete", "/usage?key={}", "/calls?key={}", "/usage.csv?key={}")
            for answer in [signed_in.get(path.format(key_id))]
        ]
        for key_id in (stranger.key.id, "AbCdEfGhIjKl")
    }
    mine, never = (re.sub(r'value="[^"]*"', "", str(page)) for page in pages.values())
    assert mine == never


# The API


def operations_with_a_body(customer):
    """Yield (method, address, field names) of the operators' operations; newer replicas may send unknown fields."""
    ids = {"plan_id": "pro", "key_id": customer.key.id, "account_id": customer.account.id, "member_id": "1"}
    ids["period"] = "2026-05"
    described = document(API)
    for path, item in described["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content and operation["security"] == [{"operator": []}]:
                address = re.sub(r"{(\w+)}", lambda found: ids[found[1]], path)
                kind = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
                yield method.upper(), address, described["components"]["schemas"][kind]["properties"].keys()


def test_undocumented_fields_are_rejected(client, operator, customer):
    extra = {"id": "x", "account_id": "x", "role": "operator", "is_operator": True, "hash": "00", "created_by": "x"}
    walked = 0
    for method, address, known in operations_with_a_body(customer):
        for name in extra.keys() - known:
            answer = client.open(address, method=method, json={name: extra[name]}, headers=operator)
            assert answer.status_code == 422, (method, address, name)
            assert (name, "unknown_field") in [(one["field"], one["code"]) for one in answer.json["errors"]]
            walked += 1
    assert walked > 40


@pytest.fixture
def slowly(monkeypatch):
    """`slowly(do)` runs `do` once while the next password is checked, as hashing is slow and may have to wait."""

    def slowly(do):
        verify = passwords.verify

        def check(password_hash, password):
            monkeypatch.setattr(passwords, "verify", verify)
            do()
            return verify(password_hash, password)

        monkeypatch.setattr(passwords, "verify", check)

    return slowly


NEW = "a brand new password of mine"


def test_password_that_is_changed_while_it_is_checked_starts_no_session(connection, visitor, customer, slowly):
    def change():
        members.set_password(connection, customer.member.email, NEW, actor="test")
        connection.commit()

    slowly(change)
    assert visitor.sign_in(customer).status_code == 422
    assert connection.execute("SELECT count(*) AS sessions FROM session").fetchone()["sessions"] == 0
    assert visitor.sign_in(customer, password=NEW).status_code == 303


def test_member_who_is_removed_during_sign_in_gets_the_response_to_a_wrong_password(
    connection, visitor, customer, slowly
):
    def remove():
        connection.execute("DELETE FROM member WHERE id = %s", (customer.member.id,))
        connection.commit()

    slowly(remove)
    assert visitor.sign_in(customer).status_code == 422


def test_old_password_cannot_replace_one_that_was_set_while_it_was_checked(connection, signed_in, customer, slowly):
    def change():
        members.set_password(connection, customer.member.email, NEW, actor="test")
        connection.commit()

    slowly(change)
    other = "the password of an attacker"
    form = {"old": customer.password, "new": other, "again": other}
    assert signed_in.post("/password", form, page="/password").status_code in {303, 422}
    _, password_hash = memberships.find_credentials(connection, customer.member.email)
    assert passwords.verify(password_hash, NEW)
