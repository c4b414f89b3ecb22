from keygauge_keyservice.accounts import accounts


def test_accounts_are_created_renamed_moved_and_suspended(run, account):
    assert "Acme" in run("accounts", "list")
    run("plans", "create", "pro")
    assert "pro" in run("accounts", "update", "acme", "--plan", "pro", "--name", "Acme Ltd")
    assert "suspended" in run("accounts", "disable", account.id)
    assert run("accounts", "list", "--status", "suspended", "--quiet") == f"{account.id}\n"
    assert "active" in run("accounts", "enable", "Acme Ltd")
    assert run("accounts", "list", "--status", "suspended", "--quiet") == ""
    assert "Choose what to change" in run("accounts", "update", account.id, code=2)
    assert "Acme Inc" in run("accounts", "rename", "Acme Ltd", "Acme Inc")
    run("accounts", "note", "Acme Inc", "Called about limits")
    assert "Called about limits" in run("audit", "list", "--event", "note")


def test_ambiguous_name_requires_the_id(run, account, connection):
    other = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    complaint = run("accounts", "show", "Acme", code=1)
    assert "use the id instead" in complaint
    assert account.id in complaint
    assert other.id in complaint


def test_account_without_keys_is_deleted(run, account):
    run("keys", "create", "prod", "--account", "Acme")
    assert "has keys or invoices" in run("accounts", "delete", "Acme", code=1)
    run("accounts", "create", "Mistake", "--plan", "free")
    run("accounts", "delete", "Mistake")
    assert run("accounts", "list", "--quiet").split() == [account.id]
