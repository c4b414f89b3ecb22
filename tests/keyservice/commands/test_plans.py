import pytest

from keygauge_keyservice.accounts import plans


def test_plans_are_created_shown_and_updated(run):
    assert "rpm: 60 request / 1m" in run("plans", "create", "free", "--limit", "rpm=60:request:60s", "--price", "$2.50")
    assert "$2.50" in run("plans", "show", "free")
    updated = run("plans", "update", "free", "--limit", "monthly=1000:request:month", "--name", "Free of charge")
    assert "monthly: 1,000 request / month" in updated
    assert "rpm" not in updated
    assert "Free of charge" in run("plans", "list")
    assert "free" in run("plans", "show", "Free of charge", "--quiet")
    assert "monthly" not in run("plans", "update", "free", "--no-limits")


def test_plans_are_deleted_and_lists_sorted(run, account, connection):
    run("plans", "create", "trial")
    assert run("plans", "list", "--quiet", "--sort=-id").split() == ["trial", "free"]
    assert run("accounts", "list", "--quiet", "--sort", "name").split() == [account.id]
    run("plans", "delete", "trial")
    assert run("plans", "list", "--quiet").split() == ["free"]
    assert "1 account is on the plan 'free'" in run("plans", "delete", "free", code=1)


@pytest.mark.usefixtures("account")
def test_provider_rules_are_set_and_shown(run, connection):
    rules = ("/v1/chat/*=deepseek", "/local=vllm")
    shown = run("plans", "update", "free", *(f"--provider={rule}" for rule in rules))
    assert all(rule in shown for rule in rules)
    assert plans.require(connection, "free").providers == rules
    assert "PATH=PROVIDER" in run("plans", "update", "free", "--provider", "deepseek", code=1)
    run("plans", "update", "free", "--no-providers")
    assert plans.require(connection, "free").providers == ()
