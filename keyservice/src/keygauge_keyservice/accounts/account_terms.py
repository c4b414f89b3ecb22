"""The account fields accepted in requests and forms."""

from __future__ import annotations

from msgspec import Struct

from keygauge_keyservice.values.field_types import Name, Slug


class NewAccount(Struct):
    """A new account."""

    name: Name
    plan: Slug
