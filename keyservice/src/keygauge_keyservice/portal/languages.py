"""The portal's languages: English, and each one with a translation file."""

from __future__ import annotations

from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Blueprint, current_app
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup, escape

from keygauge_keyservice import texts
from keygauge_keyservice.portal import reader

LOCALES = Path(__file__).parent / "locales"
_EXTENSION = "keygauge_languages"


def install(portal: Blueprint) -> None:
    """Render the portal's pages in their readers' languages, and all other responses in English."""
    portal.record_once(_install)


def names() -> list[str]:
    """Return the available languages."""
    return [reader.ENGLISH, *_translations()]


def choose() -> None:
    """Set the language of this thread's texts to the reader's."""
    texts.choose(_translations().get(reader.language(names()), texts.ENGLISH))


@cache
def read(file: Path) -> Translations:
    """Read a translation file."""
    with file.open("rb") as source:
        catalogue = read_po(source, locale=file.parent.parent.name, abort_invalid=True)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def _install(state: BlueprintSetupState) -> None:
    app = state.app
    app.extensions[_EXTENSION] = {file.parent.parent.name: read(file) for file in sorted(LOCALES.glob("*/*/*.po"))}
    app.url_value_preprocessor(_begin)
    app.teardown_request(_end)
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]  # from the extension
    app.jinja_env.globals["_"] = _text


def _begin(endpoint: str | None, _values: dict[str, object] | None) -> None:
    """Set the request's language; until the member is known, the browser's."""
    if endpoint and endpoint.startswith("portal."):
        choose()
    else:
        texts.choose(texts.ENGLISH)


def _end(_error: BaseException | None) -> None:
    """Reset the language after the request, as the thread handles others."""
    texts.choose(texts.ENGLISH)


def _translations() -> dict[str, NullTranslations]:
    found: dict[str, NullTranslations] = current_app.extensions[_EXTENSION]
    return found


def _gettext(message: str) -> Markup:
    """Translate and escape a message; templates would otherwise trust HTML in translations."""
    return escape(texts.translations().gettext(message))


def _text(message: str, /, **values: object) -> Markup:
    """Translate a message like the extension does, in a third of the time: tables do so in every cell."""
    text = _gettext(message)
    return text % values if values or "%" in text else text


def _ngettext(singular: str, plural: str, number: int) -> Markup:
    return escape(texts.translations().ngettext(singular, plural, number))
