"""Errors for callers: a status, a stable code, a sentence, and the invalid fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keygauge_keyservice.codes import CODES
from keygauge_keyservice.texts import gettext, mark

_ID_LENGTH = 12  # characters in a key's id
_NOT_FOUND = {
    "account": mark("There is no account %(name)s."),
    "key": mark("There is no key %(name)s."),
    "member": mark("There is no member %(name)s."),
    "notification": mark("There is no notification %(name)s."),
    "plan": mark("There is no plan %(name)s."),
    "token": mark("There is no token %(name)s."),
}


@dataclass(frozen=True)
class FieldError:
    """An invalid field of a request: its path, a stable code and a sentence."""

    field: str
    code: str
    detail: str


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An error response; raise it anywhere below a view."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Return the response body."""
        document: dict[str, Any] = {
            "type": f"urn:keygauge:problem:{self.code}",
            "title": CODES[self.code],
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [asdict(error) for error in self.errors]
        return document

    def messages(self) -> list[str]:
        """Return what is wrong without the API's names of fields, for a form with its own labels."""
        return [error.detail for error in self.errors] or [self.detail]


def not_found(noun: str, name: str) -> Problem:
    """Return a 404; if a whole API key was given as the id, it is not repeated."""
    if name.startswith("kg_"):
        detail = gettext("The ID of a key is the %(length)s characters after kg_live_.", length=_ID_LENGTH)
    else:
        detail = gettext(_NOT_FOUND[noun], name=repr(name))
    return Problem(404, f"{noun}_not_found", detail)


def format_field_error(field: str, detail: str) -> str:
    """Format an error of a field."""
    return gettext("%(field)s: %(detail)s", field=field, detail=detail)


def invalid(*errors: FieldError) -> Problem:
    """Return a 422 for invalid fields of a request."""
    detail = "; ".join(format_field_error(error.field, error.detail) for error in errors)
    return Problem(422, "invalid", detail, errors=errors)
