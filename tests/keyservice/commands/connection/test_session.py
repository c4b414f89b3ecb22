def test_error_for_a_database_without_tables_names_the_command_to_run(run, monkeypatch, empty_database_url):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", empty_database_url)
    assert "keygauge migrate" in run("plans", "list", code=1)
    assert "0001_accounts.sql" in run("migrate")
    assert "nothing to do" in run("migrate")


def test_error_for_an_unreachable_database_has_no_password(run, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", "postgresql://user:hush@127.0.0.1:1/none")
    complaint = run("plans", "list", code=1)
    assert "KEYGAUGE_DATABASE_URL" in complaint
    assert "hush" not in complaint
