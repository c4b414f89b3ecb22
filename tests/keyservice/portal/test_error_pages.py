import pytest

from keygauge_keyservice.accounts import sessions


def test_not_found_page_has_the_menu_if_signed_in(signed_in, visitor):
    assert "Sign out" in signed_in.get("/nothing", headers={"Accept": "text/html"}).text
    assert "Sign out" not in visitor.get("/nothing", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/keys/x/rotate", 405), ("/v1/nothing", 404)])
def test_unknown_address_is_a_page_for_browsers_and_a_problem_for_programs(visitor, path, status):
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = visitor.get(path, headers=browser)
    assert answer.status_code == status
    if path.startswith("/v1/"):
        assert answer.content_type == "application/problem+json"
    else:
        assert "Go to overview" in answer.text
        assert "Content-Security-Policy" in answer.headers
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert visitor.get(path, headers=headers).content_type == "application/problem+json"


def test_unexpected_error_page_shows_no_internals(connection, signed_in):
    connection.execute("ALTER TABLE key RENAME TO key_gone")
    connection.execute("CREATE VIEW key AS SELECT * FROM key_gone WHERE 1 / (length(id) - length(id)) = 0")
    answer = signed_in.get("/keys")
    assert answer.status_code == 500
    assert "key_gone" not in answer.text
    assert "psycopg" not in answer.text


def test_form_of_a_member_who_is_removed_meanwhile_is_a_conflict(connection, customer, signed_in, monkeypatch):
    spend_form = sessions.spend_form

    def remove_first(*arguments):
        connection.execute("DELETE FROM member WHERE email = %s", (customer.member.email,))
        return spend_form(*arguments)

    monkeypatch.setattr(sessions, "spend_form", remove_first)
    answer = signed_in.post("/keys", {"name": "late", "environment": "live"})
    assert (answer.status_code, "changed at the same time" in answer.text) == (409, True)
    assert signed_in.get("/keys").status_code == 303
