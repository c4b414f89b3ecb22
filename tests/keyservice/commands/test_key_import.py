import base64
import hashlib
import io
import json
from datetime import UTC, datetime

import pytest

from keygauge import key as key_format
from keygauge.cli import main
from keygauge.protocol import LookUp
from keygauge_keyservice import config
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.keys import key_limits, keys
from keygauge_keyservice.sync import key_entries

TOKENS = ["sk-of-another-system-1", "sk-of-another-system-2"]
DIGESTS = [hashlib.sha256(token.encode()).digest() for token in TOKENS]


@pytest.fixture
def run(capsys, monkeypatch, database_url, tmp_path):
    monkeypatch.setenv("KEYGAUGE_DATABASE_URL", database_url)
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))

    def run(*arguments, code=0):
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    run("plans", "create", "free")
    return run


@pytest.fixture
def take(run, tmp_path):
    """`take(name, text, *options)` imports a file."""

    def take(name, text, *options, code=0):
        (tmp_path / name).write_text(text)
        return run("keys", "import", tmp_path / name, "--plan", "free", *options, code=code)

    return take


def found(connection, token):
    """Look up a token by its digest, as a service does."""
    digest = key_format.digest(token)
    look_ups = [LookUp(key_format.imported_id(digest), digest.hex())]
    return [keys.find(connection, item.key) for item in key_entries.look_up(connection, look_ups, config.peppers())]


def test_list_of_keys_is_imported(take, connection):
    output = take("keys.txt", "# old ones\n" + "\n".join(TOKENS) + "\n", "--account", "Acme")
    assert "2 keys imported, 0 already existed, 1 account created" in output
    assert "KEYGAUGE_IMPORTED_KEYS=1" in output
    (account,) = accounts.list_accounts(connection)
    for token in TOKENS:
        (key,) = found(connection, token)
        assert (key.account_id, key.status, key.environment) == (account.id, "active", "live")
    assert found(connection, "sk-of-another-system-3") == []


def test_list_of_hashes_is_imported_if_it_is_called_that(take, connection):
    for number, text in enumerate((DIGESTS[0].hex(), base64.b64encode(DIGESTS[1]).decode())):
        error = take("hashes.txt", f"\n{text}", "--account", "Acme", code=1)
        assert "line 2: this may be a key or the SHA-256 of one: use --lines keys or --lines hashes" in error
        take("hashes.txt", f"\n{text}", "--account", "Acme", "--lines", "hashes")
        assert found(connection, TOKENS[number])
        assert found(connection, text) == []


def test_keys_that_look_like_hashes_are_imported_if_they_are_called_keys(take, connection):
    token = "0123456789abcdef" * 4
    take("keys.txt", token, "--account", "Acme", "--lines", "keys")
    assert found(connection, token)


def test_csv_sets_owner_limits_and_expiry(take, connection):
    rows = [
        "hash,name,account,expires_at,limits,models,disabled",
        f'{DIGESTS[0].hex()},one,Acme,2030-01-31T12:00:00Z,"rpm=60:request:60s;day=9:request:day,dry_run",gpt-4o;claude-*,',
        f"{base64.b64encode(DIGESTS[1]).decode()},two,Bold,,,,true",
    ]
    take("keys.csv", "\n".join(rows))
    (one,), (two,) = (found(connection, token) for token in TOKENS)
    assert (one.name, one.expires_at, one.models) == (
        "one",
        datetime(2030, 1, 31, 12, tzinfo=UTC),
        ["gpt-4o", "claude-*"],
    )
    limits = [(limit.name, limit.amount, limit.subject, limit.dry_run) for limit in key_limits.find(connection, one.id)]
    assert sorted(limits) == [("day", 9, "key", True), ("rpm", 60, "key", False)]
    assert (two.name, two.status) == ("two", "disabled")
    assert {account.name for account in accounts.list_accounts(connection)} == {"Acme", "Bold"}


def test_json_is_read_from_standard_input(run, connection, monkeypatch):
    rows = [{"hash": base64.urlsafe_b64encode(DIGESTS[0]).decode().rstrip("="), "account": "Acme", "scopes": ["chat"]}]
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(rows)))
    run("keys", "import", "-", "--format", "json", "--plan", "free")
    assert found(connection, TOKENS[0])[0].scopes == ["chat"]


def test_repeated_import_changes_nothing(take, connection):
    take("keys.txt", TOKENS[0], "--account", "Acme")
    (key,) = found(connection, TOKENS[0])
    keys.change(connection, key.id, name="renamed", actor="test")
    connection.commit()
    assert "0 keys imported, 1 already existed" in take("keys.txt", TOKENS[0], "--account", "Acme")
    assert found(connection, TOKENS[0])[0].name == "renamed"


def test_dry_run_changes_nothing(take, connection):
    assert "1 key would be imported" in take("keys.txt", TOKENS[0], "--account", "Acme", "--dry-run")
    assert accounts.list_accounts(connection) == []


def test_imported_key_rotates_to_our_format(take, run, connection):
    take("keys.txt", TOKENS[0], "--account", "Acme")
    (key,) = found(connection, TOKENS[0])
    token = run("keys", "rotate", key.id).strip()
    assert key_format.parse(token) == key.id


WRONG = {
    "a short key": ("keys.txt", f"{TOKENS[0]}\nshort", "line 2: key: must be 16 or more"),
    "one of ours": ("keys.txt", key_format.generate("live"), "line 1: key: must be another system's"),
    "a broken hash": ("keys.csv", f"hash,name\n{DIGESTS[0].hex()[1:]},x", "line 2: hash: must be the SHA-256"),
    "no hash": ("keys.json", '[{"name": "x"}]', "[0]: hash: is required"),
    "both": ("keys.json", json.dumps([{"hash": DIGESTS[0].hex(), "key": TOKENS[0]}]), "combined with a hash"),
    "an unknown column": ("keys.json", json.dumps([{"key": TOKENS[0], "owner": "x"}]), "owner: "),
    "a wrong limit": ("keys.json", json.dumps([{"key": TOKENS[0], "limits": ["rpm=x"]}]), "[0]: "),
    "limits that are no texts": ("keys.json", json.dumps([{"key": TOKENS[0], "limits": [1]}]), "limits must be a list"),
    "a wrong time": ("keys.csv", f"key,expires_at\n{TOKENS[0]},soon", "line 2: expires_at"),
    "a wrong flag": ("keys.csv", f"key,disabled\n{TOKENS[0]},perhaps", "use true or false"),
    "a short row": ("keys.csv", f"key,name,app\n{TOKENS[0]},x", "have as many columns"),
    "a row of a table": ("keys.txt", f"key,account\n{TOKENS[0]},Acme", "line 1: there is more than a key"),
    "an object per line": ("keys.jsonl", json.dumps({"key": TOKENS[0]}), "line 1: there is more than a key"),
    "semicolons": ("keys.csv", f"key;account\n{TOKENS[0]};Acme", "line 1: columns are separated by commas"),
    "tabs": ("keys.csv", f"key\taccount\n{TOKENS[0]}\tAcme", "line 1: columns are separated by commas"),
    "a key that no header can contain": ("keys.json", json.dumps([{"key": f"{TOKENS[0]}\n"}]), "[0]: key: must be"),
    "a key of two accounts": ("keys.csv", f"key,account\n{TOKENS[0]},Acme\n{TOKENS[0]},Bold", "is the key of "),
    "no list": ("keys.json", "{}", "use a list of objects"),
    "a column twice": ("keys.csv", f"key,limits, limits\n{TOKENS[0]},rpm=60:request:60s,", "2 columns 'limits'"),
    "no JSON": ("keys.json", "[", "is not JSON"),
    "deep JSON": ("keys.json", "[" * 100_000, "is not JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_input_is_reported_and_nothing_is_imported(take, connection, case):
    name, text, message = WRONG[case]
    error = take(name, text, "--account", "Acme", code=1)
    assert message in error
    assert TOKENS[0] not in error
    assert accounts.list_accounts(connection) == []


def test_an_account_is_not_chosen_among_several_of_its_name(take, run, connection):
    for _ in range(2):
        run("accounts", "create", "Acme", "--plan", "free")
    error = take("keys.txt", TOKENS[0], "--account", "Acme", code=1)
    assert "line 1: More than one account is named 'Acme': use the id instead." in error
    assert found(connection, TOKENS[0]) == []
    one, _ = accounts.list_accounts(connection)
    take("keys.txt", TOKENS[0], "--account", one.id)
    assert found(connection, TOKENS[0])[0].account_id == one.id


def test_the_plan_of_new_accounts_must_exist(run, tmp_path):
    (tmp_path / "keys.txt").write_text(TOKENS[0])
    told = run("keys", "import", tmp_path / "keys.txt", "--account", "Acme", "--plan", "starter", code=1)
    assert told == "keygauge: there is no plan 'starter': create it with 'keygauge plans create starter'\n"


def test_accounts_must_exist_or_have_a_plan(run, tmp_path):
    (tmp_path / "keys.txt").write_text(TOKENS[0])
    assert "keys.txt, line 1: the key has no account: use --account for those" in run(
        "keys", "import", tmp_path / "keys.txt", code=1
    )
    assert "There is no account 'Acme'" in run("keys", "import", tmp_path / "keys.txt", "--account", "Acme", code=1)
    assert "cannot be read (No such file or directory)" in run("keys", "import", tmp_path / "nothing.txt", code=1)
