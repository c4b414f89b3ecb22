"""Errors that a caller can mend or must know of: a status, a stable code, a sentence, and the fields that are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keygauge_keyservice.codes import CODES

_ID_LENGTH = 12  # of a key's id


@dataclass(frozen=True)
class FieldError:
    """One field of a request that is wrong: its path, a stable code and a sentence."""

    field: str
    code: str
    detail: str


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is not a success; raise it anywhere below a view."""

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
        """Return the body of the answer."""
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


def not_found(noun: str, name: str) -> Problem:
    """Say that a named thing does not exist; a whole key that somebody gave for its id is not repeated."""
    named = f"of this id: give the {_ID_LENGTH} characters after kg_live_" if name.startswith("kg_") else repr(name)
    return Problem(404, f"{noun}_not_found", f"There is no {noun} {named}.")


def invalid(*errors: FieldError) -> Problem:
    """Say which fields of a request are wrong."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return Problem(422, "invalid", detail, errors=errors)
