import pytest

from keygauge_keyservice.accounts import invitations, members

PASSWORD = "correct horse battery"


@pytest.fixture
def path(account):
    return f"/v1/accounts/{account['id']}"


@pytest.fixture
def join(connection, account):
    def join(email, role):
        given = {"account_id": account["id"], "email": email, "password": PASSWORD, "role": role}
        return members.create(connection, **given, actor="test").id

    return join


def test_members_are_listed_changed_and_removed(call, path, join, walk):
    ada, bob = join("ada@acme.example", "owner"), join("bob@acme.example", "member")
    assert [one["email"] for one in walk(f"{path}/members", "members")] == ["ada@acme.example", "bob@acme.example"]
    assert call("PATCH", f"{path}/members/{bob}", {"role": "viewer"})["role"] == "viewer"
    call("PATCH", f"{path}/members/{bob}", {"role": "operator"}, status=422)
    call("PATCH", f"{path}/members/{ada}", {"role": "viewer"}, status=409)  # the last owner
    call("DELETE", f"{path}/members/{ada}", status=409)
    call("DELETE", f"{path}/members/{bob}", status=204)
    call("DELETE", f"{path}/members/{bob}", status=404)
    assert [one["id"] for one in call("GET", f"{path}/members")["members"]] == [ada]


def test_invitation_link_is_shown_once_and_can_be_accepted(call, path, connection):
    made = call("POST", f"{path}/invitations", {"email": "Grace@acme.example", "role": "member"}, status=201)
    secret = made["link"].removeprefix("http://localhost/invitation/")
    [listed] = call("GET", f"{path}/invitations")["invitations"]
    assert listed == made["invitation"]
    assert (listed["email"], listed["created_by"]) == ("grace@acme.example", "operator")
    assert secret not in str(listed)
    assert invitations.accept(connection, secret, PASSWORD).role == "member"
    assert call("GET", f"{path}/invitations") == {"invitations": [], "next": None}


def test_withdrawn_invitation_is_not_found(call, path, connection):
    made = call("POST", f"{path}/invitations", {"email": "grace@acme.example", "role": "owner"}, status=201)
    call("DELETE", f"{path}/invitations/{made['invitation']['id']}", status=204)
    assert invitations.find(connection, made["link"].rpartition("/")[2]) is None


@pytest.mark.parametrize("change", [{"email": "nobody"}, {"role": "operator"}, {"role": None}, {"more": 1}])
def test_invalid_invitation_is_rejected(call, path, change):
    call("POST", f"{path}/invitations", {"email": "grace@acme.example", "role": "member"} | change, status=422)


@pytest.mark.parametrize("noun", ["members", "invitations"])
def test_unknown_account_is_404(call, noun):
    call("GET", f"/v1/accounts/none/{noun}", status=404)
