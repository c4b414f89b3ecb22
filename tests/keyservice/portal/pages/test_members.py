import pytest

from keygauge_keyservice.accounts import invitations, members

PASSWORD = "another good password"


def join(visitor, link, **form):
    return visitor.client.post(link, data={"password": PASSWORD, "again": PASSWORD} | form)


@pytest.mark.parametrize(
    "email", ["", "nobody", "a b@c.example", "x" * 300 + "@a.example", "a\0@b.example", "a\x1b@b.example"]
)
def test_invalid_address_is_not_invited(connection, customer, signed_in, email):
    answer = signed_in.post("/members", {"email": email, "role": "member"}, page="/members")
    assert answer.status_code == 422
    assert invitations.list_open(connection, customer.account.id) == []


def test_account_cannot_invite_operators(signed_in):
    answer = signed_in.post("/members", {"email": "a@b.example", "role": "operator"}, page="/members")
    assert answer.status_code == 422


def test_inviting_a_member_of_another_account_changes_nothing_there(connection, signed_in, stranger):
    answer = signed_in.post("/members", {"email": stranger.member.email, "role": "viewer"}, page="/members")
    assert answer.status_code == 200  # as for any address: the response does not reveal members of other accounts
    assert members.list_memberships(connection, stranger.member.email) == [stranger.member]


def test_roles_change_but_one_owner_remains(connection, customer, signed_in, invite, visitor):
    join(visitor, invite())
    other = members.list_memberships(connection, "new@acme.example")[0]
    own = f"/members/{customer.member.id}"
    assert signed_in.post(f"{own}/role", {"role": "viewer"}, page="/members").status_code == 409
    assert signed_in.post(f"{own}/remove", page="/members").status_code == 409
    assert signed_in.post(f"/members/{other.id}/role", {"role": "owner"}, page="/members").status_code == 303
    assert signed_in.post(f"{own}/role", {"role": "viewer"}, page="/members").status_code == 303
    assert signed_in.post(f"/members/{other.id}/remove", page="/members").status_code == 403
    assert visitor.post(f"{own}/remove", page="/members").status_code == 303
    assert signed_in.get("/").location.startswith("/sign-in")


def test_removal_requires_confirmation(connection, signed_in, customer, invite, visitor, stranger):
    join(visitor, invite())
    other = members.list_memberships(connection, "new@acme.example")[0]
    assert f'href="/members/{other.id}/remove"' in signed_in.get("/members").text
    page = signed_in.get(f"/members/{other.id}/remove").text
    assert "Remove new@acme.example?" in page
    assert members.list_memberships(connection, "new@acme.example")[0] == other
    assert signed_in.post(f"/members/{other.id}/remove", page=f"/members/{other.id}/remove").status_code == 303
    assert not members.list_memberships(connection, "new@acme.example")
    assert signed_in.get(f"/members/{stranger.member.id}/remove").status_code == 404


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_only_owners_manage_members(connection, app, customer, invite, visitor, role):
    join(visitor, invite(role=role))
    page = visitor.get("/members").text
    assert customer.member.email in page
    assert "Invite member" not in page
    for path in ("/members", f"/members/{customer.member.id}/role", f"/members/{customer.member.id}/remove"):
        assert visitor.post(path, {"email": "x@y.example", "role": "viewer"}, page="/members").status_code == 403
    assert members.list_memberships(connection, customer.member.email)[0] == customer.member


def test_member_of_another_account_is_not_changed(connection, signed_in, stranger):
    path = f"/members/{stranger.member.id}"
    assert signed_in.post(f"{path}/role", {"role": "viewer"}, page="/members").status_code == 404
    assert signed_in.post(f"{path}/remove", page="/members").status_code == 404
    assert signed_in.post(f"/members/{2**70}/remove", page="/members").status_code == 404
    assert members.list_memberships(connection, stranger.member.email)[0] == stranger.member
