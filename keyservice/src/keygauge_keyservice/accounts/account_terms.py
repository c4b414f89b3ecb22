"""What requests and forms give of an account."""

from __future__ import annotations

from msgspec import Struct

from keygauge_keyservice.field_types import Name, Slug


class NewAccount(Struct):
    """An account to be made."""

    name: Name
    plan: Slug
