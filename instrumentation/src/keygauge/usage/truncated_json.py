"""A JSON document too large to hold, reduced as it passes: an image, a batch of embeddings, an array of context.

Every member stays where it is, but long texts become empty and arrays keep their first elements and the last. So what
is held is bounded, and usage is found wherever it stands, before, after or around what is large.
"""

from __future__ import annotations

import re
from typing import Final

MAX_KEPT_BYTES: Final = 2**18
_MAX_TEXT_BYTES: Final = 512
_MAX_ELEMENTS: Final = 16
_MAX_DEPTH: Final = 256
_REST_OF_TEXT = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_BACKSLASH: Final = ord("\\")
_TOKEN = re.compile(rb'["{}\[\],]')
_TOKEN_PAST_NUMBERS = re.compile(rb'["{}\[\]]')


class TruncatedJson:
    """Takes a document in chunks; what is no JSON comes out as no JSON."""

    __slots__ = ("_arrays", "_escaped", "_in_text", "_text", "is_lost", "kept")

    def __init__(self) -> None:
        self.is_lost = False  # past the bound all the same
        self.kept = bytearray()
        self._arrays: list[list[int] | None] = []  # each open bracket: None of an object, of an array what it counts
        self._escaped = False
        self._in_text = False
        self._text = bytearray()

    def feed(self, chunk: bytes | bytearray) -> None:
        """Take the next part of the document."""
        at = 0
        while at < len(chunk) and not self.is_lost:
            at = self._take_text(chunk, at) if self._in_text else self._take_token(chunk, at)
            if len(self.kept) > MAX_KEPT_BYTES or len(self._arrays) > _MAX_DEPTH:
                self.is_lost = True
                self.kept.clear()

    def _take_text(self, chunk: bytes | bytearray, at: int) -> int:
        start = at
        if self._escaped:
            self._escaped = False
            at += 1
        found = _REST_OF_TEXT.match(chunk, at)
        end = found.end() if found else at
        if len(self._text) <= _MAX_TEXT_BYTES:
            self._text += chunk[start : min(end, start + _MAX_TEXT_BYTES + 1)]
        if end == len(chunk):
            return end
        if chunk[end] == _BACKSLASH:  # a backslash whose other half comes with the next chunk
            self._escaped = True
            self._text += b"\\"
            return end + 1
        self.kept += b'"%b"' % (bytes(self._text) if len(self._text) <= _MAX_TEXT_BYTES else b"")
        self._in_text = False
        return end + 1

    def _take_token(self, chunk: bytes | bytearray, at: int) -> int:
        array = self._arrays[-1] if self._arrays else None
        is_full = array is not None and array[0] >= _MAX_ELEMENTS
        found = (_TOKEN_PAST_NUMBERS if is_full else _TOKEN).search(chunk, at)
        end = found.start() if found else len(chunk)
        if not is_full:
            self.kept += chunk[at:end]
        if found is None:
            return end
        token = found.group()
        if token in b"}]":
            self._close(array, token)
        else:
            if array is not None and is_full:
                del self.kept[array[1] :]  # the element before: only the last one stays
            self._open(array, token)
        return found.end()

    def _open(self, array: list[int] | None, token: bytes) -> None:
        if token == b'"':
            self._in_text = True
            self._text.clear()
            return
        self.kept += token
        if token == b",":
            if array is not None:
                array[:] = array[0] + 1, len(self.kept)
        else:
            self._arrays.append([0, 0] if token == b"[" else None)

    def _close(self, array: list[int] | None, token: bytes) -> None:
        if array is not None and array[0] >= _MAX_ELEMENTS and len(self.kept) == array[1]:
            del self.kept[-1:]  # a comma that only numbers followed
        self.kept += token
        if self._arrays:
            self._arrays.pop()
