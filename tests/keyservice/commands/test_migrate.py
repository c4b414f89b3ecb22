from keygauge import cli
from keygauge_keyservice import database


def test_show_roles_prints_the_file(run):
    assert run("migrate", "--show-roles") == database.roles()


def test_check_compares_the_database_with_this_version(run, connection, capsys):
    assert "nothing to do" in run("migrate", "--check")
    connection.execute("UPDATE migration SET name = '9999_of_tomorrow.sql' WHERE name = '0011_grafana.sql'")
    connection.commit()
    assert cli.main(["migrate", "--check"]) == 1
    output = capsys.readouterr().out
    assert "pending 0011_grafana.sql" in output
    assert "newer 9999_of_tomorrow.sql" in output
