"""The form of a key's terms: filled from a key, and converted to the API's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.keys.keys import Key

_LISTS = ("scopes", "routes", "networks", "models", "tools")
_DIGITS_MAX = 8


def of_key(key: Key) -> dict[str, str]:
    """Return a key's terms as form fields."""
    return {
        "name": key.name,
        "app": key.app or "",
        "expires_on": key.expires_at.astimezone(UTC).date().isoformat() if key.expires_at else "",
        "rotate_every_days": str(key.rotate_every_days or ""),
        **{name: "\n".join(getattr(key, name)) for name in _LISTS},
    }


def document(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the form's fields in the API's format, except the expiry date."""
    days = form.get("rotate_every_days", "").strip()
    is_number = days.isascii() and days.isdigit() and len(days) <= _DIGITS_MAX
    return {
        "name": form.get("name", "").strip(),
        "app": form.get("app", "").strip() or None,
        "rotate_every_days": int(days) if is_number else days or None,
        **{name: [line.strip() for line in form.get(name, "").splitlines() if line.strip()] for name in _LISTS},
    }


def messages(errors: Sequence[FieldError]) -> dict[str, str]:
    """Return error messages by form field."""
    return {error.field.partition("[")[0]: error.detail for error in errors}
