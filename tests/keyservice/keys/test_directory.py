import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import directory


@pytest.fixture
def named(connection):
    """Create keys of two accounts, newest first."""
    plans.create(connection, plan_id="pro", name="Pro", limits=[], actor="test")
    account_ids = [accounts.create(connection, name=name, plan_id="pro", actor="test").id for name in ("Acme", "Bolt")]
    names = (("newest", None), ("Prod Web", "Shop"), ("100% Ünique", None), ("zeta", "shop front"))
    for number, (name, app) in enumerate(names):
        connection.execute(
            "INSERT INTO key (id, account_id, name, app, created_at) "
            "VALUES (%s, %s, %s, %s, now() - %s * interval '1 day')",
            (f"key{number}", account_ids[number % 2], name, app, number),
        )
    return account_ids


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PROD", ["key1"]),
        ("shop", ["key1", "key3"]),
        ("100% ü", ["key2"]),
        ("zeta", ["key3"]),
        ("ewes", ["key0"]),  # part of a name, matched only for the newest keys
        ("Web", []),
        ("_", []),
        ("kg_live_key", ["key2", "key0", "key1", "key3"]),
    ],
)
@pytest.mark.usefixtures("named")
def test_keys_match_by_prefix_of_name_or_app_and_the_newest_by_any_part(connection, monkeypatch, query, found):
    monkeypatch.setattr(directory, "SCANNED_MAX", 1)
    assert [key.id for key in directory.find_keys(connection, query, limit=9)] == found


@pytest.mark.usefixtures("named")
def test_a_search_among_very_many_keys_reads_few_rows(connection, monkeypatch):
    monkeypatch.setattr(directory, "SCANNED_MAX", 100)
    connection.execute(
        "INSERT INTO key (id, account_id, name) "
        "SELECT 'm' || n, (SELECT min(id) FROM account), 'many ' || n FROM generate_series(1, 20000) AS n"
    )
    connection.execute("ANALYZE key")
    read = (
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) AS rows FROM pg_stat_xact_user_tables WHERE relname = 'key'"
    )
    before = connection.execute(read).fetchone()["rows"]
    assert len(directory.find_keys(connection, "many 19", limit=50)) == 50
    assert [key.id for key in directory.find_keys(connection, "prod", limit=50)] == ["key1"]
    assert connection.execute(read).fetchone()["rows"] - before < 1_000


@pytest.mark.parametrize("sort", directory.ACCOUNT_SORTS)
@pytest.mark.parametrize("is_descending", [False, True])
def test_every_sort_order_lists_each_account_once_with_its_keys(connection, named, sort, is_descending):
    pages = [
        directory.find_accounts(connection, "", limit=1, offset=offset, sort=sort, is_descending=is_descending)
        for offset in range(3)
    ]
    assert sorted(account.id for page in pages for account in page) == sorted(named)
    assert [account.keys for page in pages for account in page] == [2, 2]
