import json

import pytest


def test_notifications_are_created_shown_changed_tested_and_deleted(run, account, capsys):
    secret = run("notifications", "create", "https://hooks.example.com/x", "-a", "Acme", "--type", "webhook")
    assert secret.startswith("whsec_")
    shown = run("notifications", "show", "1", "--account", "Acme")
    assert "hooks.example.com" in shown
    assert secret.strip() not in shown
    changed = run("notifications", "update", "1", "--account", "Acme", "--event", "invoice", "--output", "json")
    assert json.loads(changed)["events"] == ["invoice"]
    rotated = run("notifications", "rotate", "1", "--account", "Acme")
    assert rotated.startswith("whsec_")
    assert rotated != secret
    delivery = run("notifications", "test", "1", "--account", "Acme").strip()
    assert run("notifications", "deliveries", "--account", "Acme", "--quiet").strip() == delivery
    assert "Test notification" in run("notifications", "deliveries", "-a", "Acme", "--status", "pending")
    run("notifications", "delete", "1", "--account", "Acme")
    assert run("notifications", "list", "--account", "Acme", "--quiet") == ""


@pytest.mark.parametrize("how", ["--quiet", "--output=csv"])
def test_secret_of_a_webhook_is_printed_in_every_format(run, account, how):
    created = run("notifications", "create", "https://hooks.example.com/x", "-a", "Acme", "--type", "webhook", how)
    rotated = run("notifications", "rotate", "1", "--account", "Acme", how)
    assert all(secret.startswith("whsec_") for secret in (created, rotated))


def test_invalid_notification_is_rejected(run, account):
    wrong = run("notifications", "create", "eve@evil.example", "-a", "Acme", "--type", "email", code=1)
    assert "must be the e-mail address of a member" in wrong
    assert "There is no notification '7'" in run("notifications", "show", "7", "--account", "Acme", code=1)
    assert "--event" in run("notifications", "update", "7", "--account", "Acme", code=2)
