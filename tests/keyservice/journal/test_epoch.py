from keygauge_keyservice.journal import epoch


def test_a_history_has_a_name_that_every_connection_reads_alike(connection):
    row = connection.execute(f"SELECT {epoch.COLUMNS}").fetchone()
    assert epoch.of(row) == epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone())


def test_a_restart_another_database_and_a_feed_made_anew_are_another_history():
    row = {"started": "1.5", "database_id": 7, "feed_file": 9}
    others = [row | change for change in ({"started": "2.5"}, {"database_id": 8}, {"feed_file": 10})]
    names = {epoch.of(one) for one in (row, *others)}
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)


def test_a_feed_that_is_made_anew_in_a_running_server_is_noticed(connection):
    before = epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone())
    connection.execute("VACUUM FULL key_change")  # gives it another file, as a restore does
    assert epoch.of(connection.execute(f"SELECT {epoch.COLUMNS}").fetchone()) != before
