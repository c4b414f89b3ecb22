import pytest

from keygauge_keyservice.accounts import invitations, members

PASSWORD = "another good password"


def join(visitor, link, **form):
    return visitor.client.post(link, data={"password": PASSWORD, "again": PASSWORD} | form)


def test_link_works_once(connection, customer, invite, visitor):
    link = invite()
    assert "new@acme.example" in visitor.get(link).text
    assert join(visitor, link).location == "/"
    assert customer.account.name in visitor.get("/").text
    member = members.list_memberships(connection, "new@acme.example")[0]
    assert (member.account_id, member.role) == (customer.account.id, "member")
    assert visitor.get(link).status_code == 404
    assert join(visitor, link).status_code == 404


def test_link_is_not_stored(connection, invite):
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


def test_expired_and_withdrawn_links_do_not_work(connection, signed_in, invite, visitor):
    link = invite()
    connection.execute("UPDATE invitation SET ends_at = now() - interval '1 second'")
    assert join(visitor, link).status_code == 404
    link = invite("other@acme.example")
    (invited,) = invitations.list_open(
        connection, members.list_memberships(connection, signed_in_email(connection))[0].account_id
    )
    signed_in.post(f"/members/invitations/{invited.id}/withdraw", page="/members")
    assert join(visitor, link).status_code == 404


def signed_in_email(connection):
    return connection.execute("SELECT email FROM member ORDER BY id LIMIT 1").fetchone()["email"]


def test_lost_password_is_replaced_with_a_link(connection, app, customer, signed_in, invite, visitor):
    join(visitor, invite())
    again = type(visitor)(app.test_client())
    answer = join(again, invite(), password="yet another password", again="yet another password")
    assert answer.status_code == 303
    assert len(members.list_members(connection, customer.account.id)) == 2
    assert visitor.get("/").status_code == 303  # the old session has ended
