from keygauge_keyservice.journal import epoch


def test_epoch_is_stable(connection):
    row = connection.execute(f"SELECT {epoch.COLUMNS}").fetchone()
    assert epoch.of(row) == epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone())


def test_restart_other_database_and_recreated_feed_change_the_epoch():
    row = {"started": "1.5", "database_id": 7, "feed_file": 9}
    others = [row | change for change in ({"started": "2.5"}, {"database_id": 8}, {"feed_file": 10})]
    names = {epoch.of(one) for one in (row, *others)}
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)


def test_recreated_feed_in_a_running_server_changes_the_epoch(connection):
    before = epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone())
    connection.execute("VACUUM FULL key_change")  # gives it another file, as a restore does
    assert epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone()) != before
