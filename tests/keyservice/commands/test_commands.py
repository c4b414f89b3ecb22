import pytest


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "update", "none", "--models", "gpt-4o"),
        ("keys", "update", "none", "--account", "none", "--app", "shop"),
        ("plans", "create", "UPPER"),
        ("plans", "update", "none", "--no-limits"),
        ("accounts", "create", "Acme", "--plan", "none"),
        ("accounts", "disable", "none"),
        ("keys", "list", "--account", "none"),
        ("keys", "create", "prod", "--account", "none"),
        ("keys", "delete", "none"),
        ("usage", "--account", "none"),
        ("calls", "list", "--account", "none"),
        ("tokens", "delete", "none"),
    ],
)
def test_failures_are_reported_in_one_line(run, words):
    complaint = run(*words, code=1)
    assert complaint.startswith("keygauge: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (("keys", "create"), "Missing argument 'NAME'"),
        (("keys", "create", "prod", "Acme"), "Use --account ID or NAME"),
        (("keys", "list", "Acme"), "use --account ID or NAME"),
        (("list", "keys"), "The noun comes first: keygauge keys list"),
        (("rename", "keys", "prod"), "The noun comes first: keygauge keys update"),
        (("--account", "Acme", "keys", "list"), "options come after the verb"),
        (("keys", "--account", "Acme", "list"), "options come after the verb"),
        (("keys", "change", "prod"), "Did you mean 'update'?"),
        (("accounts", "suspend", "Acme"), "Did you mean 'disable'?"),
        (("keys", "creat", "prod"), "No such command 'creat'. Did you mean 'create'?"),
        (("key", "list"), "No such command 'key'. Did you mean 'keys'?"),
        (("xyz",), "No such command 'xyz'."),
        (("calls", "list"), "Use --account ID or NAME"),
        (("keys", "create", "a", "--account", "b", "--expires-at", "2030-01-01T00:00"), "end it with Z for UTC"),
        (("keys", "create", "a", "--account", "b", "--expires-at", "9999-12-31T23:59:59-12:00"), "is not a time"),
        (("prices", "rerate", "--from", "0001-01-01T00:00:00+14:00"), "is not a time"),
        (("plans", "create", "free", "--price", "nan"), "is not an amount: use $0 to $1,000,000"),
        (("plans", "create", "free", "--price", "1e999999"), "such as $2.50"),
        (("prices", "list", "--model", "gpt-4o"), "No option --model here: use keygauge prices list [MODEL]."),
        (("keys", "create", "--name", "a", "--account", "b"), "No option --name here: use keygauge keys create NAME."),
        (("usage", "--from", "yesterday"), "use one such as 2030-01-31"),
        (("serve", "--port", "0"), "use 1 to 65535"),
        (("serve", "--port", "abc"), "use 1 to 65535"),
        (("serve", "--workers", "0"), "use 1 to 64"),
    ],
)
def test_usage_errors_say_how_to_fix_them(run, words, way_out):
    complaint = run(*words, code=2)
    assert "Usage:" in complaint
    assert way_out in complaint
