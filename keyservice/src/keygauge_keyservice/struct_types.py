"""Reading JSON and objects as Structs, safely in many threads.

msgspec 0.22 looks into a type when it meets it first, and crashes the process where two threads meet it together. Here
one thread at a time makes a decoder, after which a type is known.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec
from msgspec.json import Decoder

_T = TypeVar("_T")
_making = Lock()
_made: dict[object, Decoder[Any]] = {}


def decoder(kind: type[_T]) -> Decoder[_T]:
    """Return what decodes JSON as a `kind`."""
    made = _made.get(kind)
    if made is None:
        with _making:
            made = _made[kind] = Decoder(kind)
    return made


def convert(content: Any, kind: type[_T]) -> _T:
    """Return the attributes or items of `content` as a `kind`.

    Raises:
        msgspec.ValidationError: they are none.
    """
    decoder(kind)
    return msgspec.convert(content, kind, from_attributes=True)
