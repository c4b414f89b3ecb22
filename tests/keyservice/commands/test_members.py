import io

import pytest

from keygauge.cli import main
from keygauge_keyservice.accounts import invitations, memberships, passwords

PASSWORD = "correct horse battery"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))

    def run(*arguments, stdin=""):
        monkeypatch.setattr("sys.stdin", stdin if isinstance(stdin, Terminal) else io.StringIO(stdin))
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def signs_in(connection, email, password):
    _, password_hash = memberships.find_credentials(connection, email)
    return passwords.verify(password_hash, password)


def test_generated_password_is_alone_on_standard_output_and_signs_in(run, connection, account):
    code, out, err = run("members", "create", "Ada@Example.com", "--account", account.id, "--generate")
    assert code == 0
    assert out.count("\n") == 1
    assert out.strip() not in err
    assert signs_in(connection, "ada@example.com", out.strip())
    _, out, _ = run("members", "list", "--account", account.id)
    assert "ada@example.com" in out
    assert "owner" in out


def test_password_is_read_from_a_pipe(run, connection, account):
    create = ("members", "create", "ada@example.com", "--account", "Acme", "--role", "viewer")
    code, out, _ = run(*create, stdin=f"{PASSWORD}\n")
    assert (code, out) == (0, "")
    assert signs_in(connection, "ada@example.com", PASSWORD)


def test_terminal_prompts_for_the_password_twice(run, connection, account, monkeypatch):
    create = ("members", "create", "ada@example.com", "--account", account.id)
    answers = iter([PASSWORD, "a different one", PASSWORD, PASSWORD])
    monkeypatch.setattr("keygauge_keyservice.commands.members.getpass", lambda _: next(answers))
    code, _, err = run(*create, stdin=Terminal())
    assert code == 1
    assert "don't match" in err
    assert run(*create, stdin=Terminal())[0] == 0
    assert signs_in(connection, "ada@example.com", PASSWORD)


def test_password_is_replaced(run, connection, account):
    run("members", "create", "ada@example.com", "--account", account.id, "--generate")
    code, out, _ = run("members", "set-password", "ada@example.com", "--generate")
    assert code == 0
    assert signs_in(connection, "ada@example.com", out.strip())


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("create", "a@x", "--account", "nobody"), PASSWORD, "There is no account"),
        (("create", "nonsense", "--account", "ACCOUNT"), PASSWORD, "must be an e-mail address"),
        (("create", "a@x", "--account", "ACCOUNT"), "short", "must have 12 to 1024 characters"),
        (("set-password", "a@x"), PASSWORD, "There is no member"),
        (("invite", "nonsense", "--account", "ACCOUNT"), "", "the e-mail address must be"),
        (("remove", "a@x", "--account", "ACCOUNT"), "", "There is no member"),
        (("list", "--account", "nobody"), "", "There is no account"),
    ],
)
def test_failures_are_reported(run, account, arguments, stdin, message):
    arguments = [account.id if argument == "ACCOUNT" else argument for argument in arguments]
    code, out, err = run("members", *arguments, stdin=stdin)
    assert (code, out) == (1, "")
    assert message in err


def test_invitation_link_works(run, connection, account, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PUBLIC_URL", "https://keys.example.com")
    code, link, printed = run("members", "invite", "Ada@Example.com", "--account", "Acme", "--role", "viewer")
    assert (code, "ada@example.com may join as viewer" in printed) == (0, True)
    assert "KEYGAUGE_PUBLIC_URL" not in printed
    secret = link.strip().removeprefix("https://keys.example.com/invitation/")
    assert "ada@example.com" in run("members", "list", "--account", "Acme", "--invited")[1]
    assert invitations.accept(connection, secret, PASSWORD).role == "viewer"


def test_member_role_is_changed_and_member_removed(run, account):
    for email in ("ada@example.com", "bob@example.com"):
        run("members", "create", email, "--account", "Acme", "--generate")
    assert "viewer" in run("members", "update", "ada@example.com", "--account", "Acme", "--role", "viewer")[1]
    code, _, printed = run("members", "remove", "bob@example.com", "--account", "Acme", "--yes")
    assert (code, "An account needs an owner" in printed) == (1, True)
    assert run("members", "remove", "ada@example.com", "--account", "Acme", "--yes")[0] == 0
    assert "ada@example.com" not in run("members", "list", "--account", "Acme")[1]


def test_open_invitation_is_withdrawn(run, connection, account):
    _, link, printed = run("members", "invite", "ada@example.com", "--account", "Acme")
    assert "The link leads to http://127.0.0.1:8080: if your portal is elsewhere, set KEYGAUGE_PUBLIC_URL" in printed
    assert "has ended" in run("members", "remove", "ada@example.com", "--account", "Acme")[2]
    assert invitations.find(connection, link.strip().rpartition("/")[2]) is None
