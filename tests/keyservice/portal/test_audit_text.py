import re
from pathlib import Path

from keygauge_keyservice.limits.definitions import Limit, terms
from keygauge_keyservice.portal import audit_text
from keygauge_keyservice.portal.audit_text import Change, action, changes

SOURCES = Path(audit_text.__file__).parents[1]


def test_every_recorded_action_has_a_description():
    codes = {
        code for path in SOURCES.rglob("*.py") for code in re.findall(r'action="([a-z]+\.[a-z_]+)"', path.read_text())
    }
    assert codes
    assert [code for code in codes if action(code) == code] == []
    assert action("one.of_another_version") == "one.of_another_version"


def test_changes_are_described_in_words(app):
    with app.test_request_context():
        described = changes(
            {
                "monthly_nanousd": 2_500_000_000,
                "expires_at": None,
                "networks": [],
                "routes": ["/v1", "/v2"],
                "rotate_every_days": 90,
                "grace_s": 0,
                "app": None,
            }
        )
    assert described == [
        Change("Monthly price", ["$2.50"]),
        Change("Expires", ["Never"]),
        Change("Networks", ["All"]),
        Change("Endpoints", ["/v1, /v2"]),
        Change("Rotation reminder", ["every 90 days"]),
        Change("Old secret expires", ["immediately"]),
        Change("Application", ["None"]),
    ]
    assert changes(None) == changes({}) == []


def test_limits_are_described_and_those_of_another_version_are_shown_as_json(app):
    limit = terms(Limit(name="rpm", unit="request", amount=60, window_s=60))
    with app.test_request_context():
        (known,) = changes({"limits": [limit]})
        (other,) = changes({"limits": [limit | {"newer": 1}]})
    assert "60" in known.lines[0]
    assert "{" not in known.lines[0]
    assert '"newer": 1' in other.lines[0]


def test_notification_is_in_the_words_of_the_api():
    changes = audit_text.changes({"type": "email", "target": "ada@acme.example", "events": ["quota", "invoice"]})
    assert {change.name: change.lines for change in changes} == {
        "Type": ["E-mail"],
        "Destination": ["ada@acme.example"],
        "Events": ["Quotas, Invoice available"],
    }
