import io

import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import accounts, memberships, passwords, plans

PASSWORD = "correct horse battery"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def run(capsys, monkeypatch, database_url):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)

    def run(*arguments, stdin=""):
        monkeypatch.setattr("sys.stdin", stdin if isinstance(stdin, Terminal) else io.StringIO(stdin))
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


def signs_in(connection, email, password):
    _, password_hash = memberships.find_credentials(connection, email)
    return passwords.verify(password_hash, password)


def test_generated_password_is_alone_on_standard_output_and_signs_in(run, connection, account):
    code, out, err = run("members", "create", "--account", account.id, "--email", "Ada@Example.com", "--generate")
    assert code == 0
    assert out.count("\n") == 1
    assert out.strip() not in err
    assert signs_in(connection, "ada@example.com", out.strip())
    _, out, _ = run("members", "list", "--account", account.id)
    assert "ada@example.com" in out
    assert "owner" in out


def test_password_is_read_from_a_pipe(run, connection, account):
    create = ("members", "create", "--account", account.id, "--email", "ada@example.com", "--role", "viewer")
    code, out, _ = run(*create, stdin=f"{PASSWORD}\n")
    assert (code, out) == (0, "")
    assert signs_in(connection, "ada@example.com", PASSWORD)


def test_password_is_asked_for_twice_on_a_terminal(run, connection, account, monkeypatch):
    create = ("members", "create", "--account", account.id, "--email", "ada@example.com")
    answers = iter([PASSWORD, "a different one", PASSWORD, PASSWORD])
    monkeypatch.setattr("keygauge_keyservice.commands.members.getpass", lambda _: next(answers))
    code, _, err = run(*create, stdin=Terminal())
    assert code == 1
    assert "not the same" in err
    assert run(*create, stdin=Terminal())[0] == 0
    assert signs_in(connection, "ada@example.com", PASSWORD)


def test_password_is_replaced(run, connection, account):
    run("members", "create", "--account", account.id, "--email", "ada@example.com", "--generate")
    code, out, _ = run("members", "set-password", "--email", "ada@example.com", "--generate")
    assert code == 0
    assert signs_in(connection, "ada@example.com", out.strip())


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("create", "--account", "nobody", "--email", "a@x"), PASSWORD, "There is no account"),
        (("create", "--account", "ACCOUNT", "--email", "nonsense"), PASSWORD, "must be an e-mail address"),
        (("create", "--account", "ACCOUNT", "--email", "a@x"), "short", "must have 12 to 1024 characters"),
        (("set-password", "--email", "a@x"), PASSWORD, "There is no member"),
        (("list", "--account", "nobody"), "", "There is no account"),
    ],
)
def test_failures_are_told_in_one_line(run, account, arguments, stdin, message):
    arguments = [account.id if argument == "ACCOUNT" else argument for argument in arguments]
    code, out, err = run("members", *arguments, stdin=stdin)
    assert (code, out) == (1, "")
    assert message in err
