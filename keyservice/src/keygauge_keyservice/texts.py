"""What people read: English as it stands in the code, or in the language that was chosen for a request."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from gettext import NullTranslations

ENGLISH = NullTranslations()
_chosen: ContextVar[NullTranslations] = ContextVar("translations", default=ENGLISH)


def choose(translations: NullTranslations) -> None:
    """Write what follows in this thread in a language; what it has no translation of stays English."""
    _chosen.set(translations)


def translations() -> NullTranslations:
    """Return the language that was chosen."""
    return _chosen.get()


def gettext(message: str, /, **values: object) -> str:
    """Write a message with its values: %(name)s stands for one."""
    text = translations().gettext(message)
    return text % values if values else text


def ngettext(singular: str, plural: str, number: int, /, **values: object) -> str:
    """Write one of two messages, as the number wants it; %(num)s stands for the number."""
    return translations().ngettext(singular, plural, number) % {"num": number, **values}


def each(messages: Mapping[str, str]) -> dict[str, str]:
    """Write messages that are known by names."""
    return {name: gettext(message) for name, message in messages.items()}


def mark(message: str) -> str:
    """Return a message that is written later, so that it gets into the file that is translated."""
    return message
