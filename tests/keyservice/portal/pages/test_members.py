import csv
import re

import pytest

from keygauge_keyservice.accounts import invitations, members

PASSWORD = "another good password"


@pytest.fixture
def invite(signed_in):
    def invite(email="new@acme.example", role="member"):
        answer = signed_in.post("/members", {"email": email, "role": role}, page="/members")
        assert answer.status_code == 200, answer.text
        return re.search(r"http://localhost(/invitation/[^<]+)<", answer.text)[1]

    return invite


def join(visitor, link, **form):
    return visitor.client.post(link, data={"password": PASSWORD, "again": PASSWORD} | form)


def test_link_works_once(connection, customer, invite, visitor):
    link = invite()
    assert "new@acme.example" in visitor.get(link).text
    assert join(visitor, link).location == "/"
    assert customer.account.name in visitor.get("/").text
    member = members.find_by_email(connection, "new@acme.example")
    assert (member.account_id, member.role) == (customer.account.id, "member")
    assert visitor.get(link).status_code == 404
    assert join(visitor, link).status_code == 404


def test_link_is_kept_nowhere(connection, invite):
    token = invite().rpartition("/")[2]
    tables = connection.execute("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'").fetchall()
    for table in tables:
        rows = connection.execute(f'SELECT t::text AS text FROM "{table["name"]}" AS t').fetchall()
        assert not any(token in row["text"] for row in rows)


@pytest.mark.parametrize(
    ("form", "words"),
    [({"password": "short", "again": "short"}, "12 to 1024"), ({"again": "different one"}, "match.")],
)
def test_unusable_password_keeps_the_link(invite, visitor, form, words):
    link = invite()
    answer = join(visitor, link, **form)
    assert answer.status_code == 422
    assert words in answer.text
    assert join(visitor, link).status_code == 303


def test_ended_and_withdrawn_links_do_not_work(connection, signed_in, invite, visitor):
    link = invite()
    connection.execute("UPDATE invitation SET ends_at = now() - interval '1 second'")
    assert join(visitor, link).status_code == 404
    link = invite("other@acme.example")
    (invited,) = invitations.list_open(
        connection, members.find_by_email(connection, signed_in_email(connection)).account_id
    )
    signed_in.post(f"/members/invitations/{invited.id}/withdraw", page="/members")
    assert join(visitor, link).status_code == 404


def signed_in_email(connection):
    return connection.execute("SELECT email FROM member ORDER BY id LIMIT 1").fetchone()["email"]


def test_lost_password_is_replaced_by_a_link(connection, app, customer, signed_in, invite, visitor):
    join(visitor, invite())
    again = type(visitor)(app.test_client())
    answer = join(again, invite(), password="yet another password", again="yet another password")
    assert answer.status_code == 303
    assert len(members.list_members(connection, customer.account.id)) == 2
    assert visitor.get("/").status_code == 303  # the old session has ended


@pytest.mark.parametrize(
    "email", ["", "nobody", "a b@c.example", "x" * 300 + "@a.example", "a\0@b.example", "a\x1b@b.example"]
)
def test_bad_address_is_not_invited(connection, customer, signed_in, email):
    answer = signed_in.post("/members", {"email": email, "role": "member"}, page="/members")
    assert answer.status_code == 422
    assert invitations.list_open(connection, customer.account.id) == []


def test_no_operator_is_invited_from_an_account(signed_in):
    answer = signed_in.post("/members", {"email": "a@b.example", "role": "operator"}, page="/members")
    assert answer.status_code == 422


def test_member_of_another_account_is_not_taken(connection, signed_in, stranger):
    answer = signed_in.post("/members", {"email": stranger.member.email, "role": "viewer"}, page="/members")
    assert answer.status_code == 200  # as for anybody: the answer does not tell who is a member elsewhere
    assert members.list_memberships(connection, stranger.member.email) == [stranger.member]


def test_roles_change_and_one_owner_stays(connection, customer, signed_in, invite, visitor):
    join(visitor, invite())
    other = members.find_by_email(connection, "new@acme.example")
    own = f"/members/{customer.member.id}"
    assert signed_in.post(f"{own}/role", {"role": "viewer"}, page="/members").status_code == 409
    assert signed_in.post(f"{own}/remove", page="/members").status_code == 409
    assert signed_in.post(f"/members/{other.id}/role", {"role": "owner"}, page="/members").status_code == 303
    assert signed_in.post(f"{own}/role", {"role": "viewer"}, page="/members").status_code == 303
    assert signed_in.post(f"/members/{other.id}/remove", page="/members").status_code == 403
    assert visitor.post(f"{own}/remove", page="/members").status_code == 303
    assert signed_in.get("/").location.startswith("/sign-in")


def test_members_come_as_csv_and_json_and_by_the_api(signed_in, customer, invite, client, operator):
    invite("grace@acme.example", "viewer")
    rows = signed_in.get("/members.json").json["members"]
    assert [(row["email"], row["role"], row["is_invited"]) for row in rows] == [
        (customer.member.email, "owner", False),
        ("grace@acme.example", "viewer", True),
    ]
    written = list(csv.DictReader(signed_in.get("/members.csv").text.splitlines()))
    assert [row["email"] for row in written] == [row["email"] for row in rows]
    of_account = f"/v1/accounts/{customer.account.id}"
    first = client.get(f"{of_account}/members?limit=1", headers=operator).json
    assert [one["email"] for one in first["members"]] == [customer.member.email]
    rest = client.get(f"{of_account}/members", query_string={"after": first["next"]}, headers=operator).json
    assert rest == {"members": [], "next": None}
    (invited,) = client.get(f"{of_account}/invitations", headers=operator).json["invitations"]
    assert (invited["email"], invited["created_by"]) == ("grace@acme.example", customer.member.email)
    assert client.get("/v1/accounts/none/invitations", headers=operator).status_code == 404


def test_removal_is_asked_for_before_it_is_done(connection, signed_in, customer, invite, visitor, stranger):
    join(visitor, invite())
    other = members.find_by_email(connection, "new@acme.example")
    assert f'href="/members/{other.id}/remove"' in signed_in.get("/members").text
    page = signed_in.get(f"/members/{other.id}/remove").text
    assert "Remove new@acme.example?" in page
    assert members.find_by_email(connection, "new@acme.example") == other
    assert signed_in.post(f"/members/{other.id}/remove", page=f"/members/{other.id}/remove").status_code == 303
    assert members.find_by_email(connection, "new@acme.example") is None
    assert signed_in.get(f"/members/{stranger.member.id}/remove").status_code == 404


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_only_owners_manage_members(connection, app, customer, invite, visitor, role):
    join(visitor, invite(role=role))
    page = visitor.get("/members").text
    assert customer.member.email in page
    assert "Invite member" not in page
    for path in ("/members", f"/members/{customer.member.id}/role", f"/members/{customer.member.id}/remove"):
        assert visitor.post(path, {"email": "x@y.example", "role": "viewer"}, page="/members").status_code == 403
    assert members.find_by_email(connection, customer.member.email) == customer.member


def test_member_of_another_account_is_not_changed(connection, signed_in, stranger):
    path = f"/members/{stranger.member.id}"
    assert signed_in.post(f"{path}/role", {"role": "viewer"}, page="/members").status_code == 404
    assert signed_in.post(f"{path}/remove", page="/members").status_code == 404
    assert signed_in.post(f"/members/{2**70}/remove", page="/members").status_code == 404
    assert members.find_by_email(connection, stranger.member.email) == stranger.member


def test_own_password_is_changed_with_the_old_one(app, signed_in, customer, visitor):
    form = {"old": customer.password, "new": PASSWORD, "again": PASSWORD}
    assert signed_in.post("/password", form | {"old": "wrong"}, page="/password").status_code == 422
    assert signed_in.post("/password", form | {"again": "x"}, page="/password").status_code == 422
    assert signed_in.post("/password", form | {"new": "x", "again": "x"}, page="/password").status_code == 422
    assert signed_in.post("/password", form, page="/password").status_code == 303
    assert signed_in.get("/").status_code == 200
    assert visitor.sign_in(customer, password=PASSWORD).status_code == 303
