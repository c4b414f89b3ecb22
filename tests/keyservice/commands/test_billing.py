import pytest


@pytest.mark.usefixtures("used_months")
def test_months_are_closed_and_the_current_one_is_shown(run):
    run("plans", "update", "ledger", "--price", "$19.99")
    run("billing", "close")
    assert "plan price\t$19.99" in run("billing", "show", "--account", "acme")
    shown = run("billing", "list", "--account", "acme")
    assert "$19.99" not in shown  # closed months keep their price
    assert "$20.00" in shown
    assert "2026-05" in shown
