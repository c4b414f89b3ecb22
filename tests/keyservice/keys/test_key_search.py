import pytest

from keygauge_keyservice.keys import key_page, key_search
from keygauge_keyservice.keys.key_search import Search


@pytest.fixture
def made(connection):
    """Create five keys of one account and one of another."""
    connection.execute("INSERT INTO plan (id, name) VALUES ('p', 'P')")
    rows = [
        ("aaa", "acme", "Prod", "Checkout", "live", "active", "1 day"),
        ("aab", "acme", "prod 2", None, "test", "active", "2 days"),
        ("abc", "acme", "Old_1%", None, "live", "disabled", "3 days"),
        ("bbb", "acme", "zeta", None, "live", "active", "4 days"),
        ("ccc", "acme", "prod", None, "live", "deleted", "5 days"),
        ("aad", "beta", "prod", None, "live", "active", "6 days"),
    ]
    for account in ("acme", "beta"):
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES (%s, %s, 'p')", (account, account))
    for row in rows:
        connection.execute(
            "INSERT INTO key (id, account_id, name, app, environment, status, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, timestamptz '2026-01-01' + %s::interval)",
            row,
        )


def test_search_by_name_app_and_prefix_excludes_deleted_and_other_accounts_keys(connection, made):
    def found(query, **how):
        return [key.id for key in key_search.find(connection, "acme", Search(query, **how), limit=None)]

    found_by = {
        "": "aaa aab abc bbb",
        "PROD": "aaa aab",
        "check": "aaa",
        "aa": "aaa aab",
        "kg_test_aa": "aab",
        "%": "abc",
    }
    found_by |= {"_": "abc", "nothing": "", "kg_live_": "aaa abc bbb", "'": ""}
    assert {query: " ".join(found(query)) for query in found_by} == found_by
    assert found("", only="disabled") == ["abc"]
    assert found("prod", only="test") == ["aab"]
    assert found("", sort="name", is_descending=True) == ["bbb", "aab", "aaa", "abc"]
    assert key_search.count(connection, "acme") == 4


def test_search_pages_are_complete_in_every_sort_order(connection, made):
    for sort in key_search.SORTS:
        pages = [
            key.id
            for offset in range(0, 6, 2)
            for key in key_search.find(connection, "acme", Search(sort=sort), limit=2, offset=offset)
        ]
        assert sorted(pages) == ["aaa", "aab", "abc", "bbb"]


def test_api_lists_are_complete_in_every_sort_order(connection, made):
    for sort in (*key_page.SORTS, *(f"-{name}" for name in key_page.SORTS)):
        walked, after = [], None
        while page := key_page.list_keys(connection, account_id="acme", sort=sort, after=after, limit=3):
            walked, after = walked + [key.id for key in page], page[-1].id
        assert sorted(walked) == ["aaa", "aab", "abc", "bbb"]
