"""A JSON document too large to hold, reduced as it passes: with an image, a tool's arguments, an array of context.

Members that `providers` use stay in place. Of everything else only the beginning is kept: long strings become empty,
arrays end after some elements and objects after some members, and deeply nested values are left out. So memory is
bounded, and usage is found wherever it is: before, after or around the large parts.
"""

from __future__ import annotations

import re
from typing import Final

from keygauge.usage.outline import LISTS, NAMES, PARENTS

MAX_KEPT_BYTES: Final = 2**18
_MAX_TEXT_BYTES: Final = 512
_MAX_ELEMENTS: Final = 16
_MAX_MEMBERS: Final = 64
_MAX_DEPTH: Final = 64
_ROOM_BYTES: Final = MAX_KEPT_BYTES // 2  # beyond it only members that `providers` use are kept
_REST_OF_TEXT = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_BACKSLASH: Final = ord("\\")
_TOKEN = re.compile(rb'["{}\[\],]')
_TOKEN_PAST_NUMBERS = re.compile(rb'["{}\[\]]')
_TOKEN_IN_SKIPPED = re.compile(rb'[",]|[{\[]+|[}\]]+')
_FLAT = re.compile(rb'(?:[^"{}\[\]]+|"[^"\\]*(?:\\.[^"\\]*)*")*', re.DOTALL)


class _Open:
    """An array or object that is not closed yet."""

    __slots__ = ("awaits_name", "count", "is_array", "is_looked_at", "is_parent", "most", "name", "start")

    def __init__(self, outer: _Open | None, *, is_array: bool, start: int) -> None:
        is_parent = outer is None or (outer.is_parent and (outer.is_array or outer.name in PARENTS))
        is_list = is_array and (outer is None or outer.name in LISTS)
        self.is_array: bool = is_array
        self.is_parent: bool = is_parent  # its members are selected by name
        self.is_looked_at: bool = outer is None or (
            outer.is_looked_at and (not outer.is_parent or outer.is_array or outer.name in NAMES)
        )
        self.most = _MAX_MEMBERS if not is_array else _ROOM_BYTES if is_list else _MAX_ELEMENTS
        self.count = 0  # kept members of an object, or commas in an array
        self.start = start  # offset in `kept` of the current member or element
        self.awaits_name = not is_array
        self.name: bytes = b""


class TruncatedJson:
    """A reduced copy of a document that is fed in chunks; input that is not JSON stays invalid."""

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_text",
        "_is_rest",
        "_open",
        "_skips",
        "_text",
        "elements",
        "is_lost",
        "kept",
    )

    def __init__(self) -> None:
        self.elements = 0  # of the document, if it is an array
        self.is_lost = False  # too large even when reduced
        self.kept = bytearray()
        self._depth = 0  # nesting within the part that is left out
        self._escaped = False
        self._in_text = False
        self._is_rest = False  # the rest of an array or object is left out, not just a member
        self._open: list[_Open] = []
        self._skips = False
        self._text = bytearray()

    def feed(self, chunk: bytes | bytearray) -> None:
        """Read the next part of the document."""
        at = 0
        while at < len(chunk) and not self.is_lost:
            if self._in_text:
                at = self._take_text(chunk, at)
            else:
                at = self._skip(chunk, at) if self._skips else self._take_token(chunk, at)
            if len(self.kept) > MAX_KEPT_BYTES:
                self.is_lost = True
                self.kept.clear()

    def _take_text(self, chunk: bytes | bytearray, at: int) -> int:
        start = at
        if self._escaped:
            self._escaped = False
            at += 1
        found = _REST_OF_TEXT.match(chunk, at)
        end = found.end() if found else at
        if len(self._text) <= _MAX_TEXT_BYTES and not self._skips:
            self._text += chunk[start : min(end, start + _MAX_TEXT_BYTES + 1)]
        if end == len(chunk):
            return end
        if chunk[end] == _BACKSLASH:  # the escaped character is in the next chunk
            self._escaped = True
            self._text += b"\\"
            return end + 1
        self._in_text = False
        if not self._skips:
            self._end_text(bytes(self._text) if len(self._text) <= _MAX_TEXT_BYTES else b"")
        return end + 1

    def _end_text(self, text: bytes) -> None:
        inner = self._open[-1] if self._open else None
        self.kept += b'"%b"' % text
        if inner is None or not inner.awaits_name:
            return
        inner.awaits_name = False
        inner.name = text
        is_roomy = inner.count < inner.most and len(self.kept) <= _ROOM_BYTES
        if is_roomy or (inner.is_looked_at and (not inner.is_parent or text in NAMES)):
            inner.count += 1
        else:
            del self.kept[inner.start :]
            self._leave_out(is_rest=not inner.is_looked_at)

    def _leave_out(self, *, is_rest: bool) -> None:
        self._skips, self._is_rest, self._depth = True, is_rest, 0

    def _skip(self, chunk: bytes | bytearray, at: int) -> int:
        """Skip a part that is left out, up to the comma or bracket that ends it."""
        if (self._depth or self._is_rest) and (flat := _FLAT.match(chunk, at)):
            at = flat.end()
        found = _TOKEN_IN_SKIPPED.search(chunk, at)
        if found is None:
            return len(chunk)
        token, depth = found.group(), self._depth
        if token == b'"':
            self._in_text = True
        elif token[0] in b"{[":
            self._depth += len(token)
        elif depth:
            if token != b",":
                self._depth = max(0, depth - len(token))
                return min(found.start() + depth, found.end())
        elif token != b"," or not self._is_rest:
            self._skips = False
            return found.start()
        return found.end()

    def _take_token(self, chunk: bytes | bytearray, at: int) -> int:
        inner = self._open[-1] if self._open else None
        is_full = inner is not None and inner.is_array and self._is_full(inner)
        found = (_TOKEN_PAST_NUMBERS if is_full else _TOKEN).search(chunk, at)
        end = found.start() if found else len(chunk)
        if not is_full:
            self.kept += chunk[at:end]
        if found is None:
            return end
        token = found.group()
        if token in b"}]":
            self._close(token)
        elif token == b",":
            self._end_part(inner)
        else:
            if inner is not None and is_full:
                del self.kept[inner.start :]  # the previous element: only the last one stays
                self.elements += len(self._open) == 1
            self._begin(inner, token)
        return found.end()

    def _is_full(self, array: _Open) -> bool:
        is_tight = len(self.kept) > _ROOM_BYTES
        return array.count >= array.most or (is_tight and array.count >= _MAX_ELEMENTS)

    def _begin(self, outer: _Open | None, token: bytes) -> None:
        if token == b'"':
            self._in_text = True
            self._text.clear()
        elif len(self._open) < _MAX_DEPTH:
            self.kept += token
            self._open.append(_Open(outer, is_array=token == b"[", start=len(self.kept)))
        else:
            self.kept += b"null"
            self._leave_out(is_rest=False)
            self._depth = 1

    def _end_part(self, inner: _Open | None) -> None:
        """Handle the comma after an element or a member."""
        if inner is not None and inner.is_array:
            self.elements += len(self._open) == 1
            is_last = inner.count + 1 >= inner.most or len(self.kept) > _ROOM_BYTES
            if is_last and not inner.is_looked_at:
                self._leave_out(is_rest=True)
                return
            inner.count += 1
        has_before = inner is None or inner.count > 0
        if inner is not None and not inner.is_array:
            inner.start, inner.awaits_name = len(self.kept), True
        if has_before:
            self.kept += b","
        if inner is not None and inner.is_array:
            inner.start = len(self.kept)

    def _close(self, token: bytes) -> None:
        inner = self._open.pop() if self._open else None
        self.elements += inner is not None and inner.is_array and not self._open
        if inner is not None and inner.is_array and inner.count and len(self.kept) == inner.start:
            del self.kept[-1:]  # a trailing comma: the numbers after it were left out
        self.kept += token
