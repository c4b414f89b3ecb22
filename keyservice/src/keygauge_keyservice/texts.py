"""Translated texts: English as written in the code, or the language chosen for a request."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from gettext import NullTranslations

ENGLISH = NullTranslations()
_chosen: ContextVar[NullTranslations] = ContextVar("translations", default=ENGLISH)


def choose(translations: NullTranslations) -> None:
    """Set the language of this thread's texts; untranslated texts stay English."""
    _chosen.set(translations)


def translations() -> NullTranslations:
    """Return the chosen language's translations."""
    return _chosen.get()


def gettext(message: str, /, **values: object) -> str:
    """Translate a message and fill in its values, as in %(name)s."""
    text = translations().gettext(message)
    return text % values if values else text


def ngettext(singular: str, plural: str, number: int, /, **values: object) -> str:
    """Translate the singular or plural message and fill in its values; %(num)s is the number."""
    return translations().ngettext(singular, plural, number) % {"num": number, **values}


def each(messages: Mapping[str, str]) -> dict[str, str]:
    """Translate the values of a mapping."""
    return {name: gettext(message) for name, message in messages.items()}


def mark(message: str) -> str:
    """Mark a message for extraction; it is translated later."""
    return message
