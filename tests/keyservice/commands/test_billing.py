import csv

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


@pytest.mark.usefixtures("used_months")
def test_invoices_are_marked_as_paid_and_unpaid(run):
    run("billing", "close")
    month = run("billing", "list", "--account", "acme", "--quiet").split()[0]
    (unpaid,) = csv.DictReader(run("billing", "list", "--account", "acme", "--limit", "1", "-o", "csv").splitlines())
    assert (unpaid["paid"], bool(unpaid["due"])) == ("", True)
    assert "\npaid\t20" in run("billing", "update", month, "--account", "acme", "--paid")
    assert "\npaid\t-" in run("billing", "update", month.removesuffix("-01"), "--account", "acme", "--unpaid")
    assert "no invoice for this month" in run("billing", "update", "2020-01-01", "-a", "acme", "--paid", code=1)
