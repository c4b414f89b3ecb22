"""What owners can add to an account in the portal has a maximum, and the page says so."""

from dataclasses import replace

import pytest

from keygauge_keyservice.accounts import dismissals, members, sessions


@pytest.fixture
def settings(settings):
    return replace(settings, account_keys_max=2)


def count(connection, table):
    connection.commit()
    return connection.execute(f"SELECT count(*) AS n FROM {table}").fetchone()["n"]


def test_keys(connection, signed_in, customer):
    assert signed_in.post("/keys", {"name": "second", "environment": "live"}).status_code == 200
    answer = signed_in.post("/keys", {"name": "third <b>", "environment": "live"})
    assert answer.status_code == 409
    assert "at most 2 keys" in answer.text
    assert 'value="third &lt;b&gt;"' in answer.text  # nothing has to be typed again
    signed_in.post(f"/keys/{customer.key.id}/delete")
    assert signed_in.post("/keys", {"name": "third", "environment": "live"}).status_code == 200


def test_members_and_invitations(connection, signed_in, customer, monkeypatch):
    monkeypatch.setattr(members, "PER_ACCOUNT_MAX", 3)

    def invite(email):
        return signed_in.post("/members", {"email": email, "role": "viewer"}, page="/members")

    assert [invite(f"m{number}@people.example").status_code for number in range(3)] == [200, 200, 409]
    assert "at most 3 members and open invitations" in invite("m9@people.example").text
    assert invite("m0@people.example").status_code == 200  # a new link instead of the old one


def test_sessions_of_a_member(connection, app, visitor, customer, monkeypatch):
    monkeypatch.setattr(sessions, "PER_MEMBER_MAX", 2)
    browsers = [app.test_client() for _ in range(3)]
    for browser in browsers:
        form = {"email": customer.member.email, "password": customer.password}
        assert browser.post("/sign-in", data=form).status_code == 303
    assert [browser.get("/keys").status_code for browser in browsers] == [303, 200, 200]


def test_dismissed_alerts(connection, signed_in, monkeypatch):
    monkeypatch.setattr(dismissals, "PER_MEMBER_MAX", 3)
    for number in range(5):
        assert signed_in.post("/alerts/dismiss", {"name": f"quota:{number}"}).status_code == 303
    assert count(connection, "dismissed_alert") == 3
