"""The outer members of a JSON object too large to hold, such as a batch of embeddings with its usage at the end.

Both ends of the body are read from the outside inwards, so each step stands on known ground: the first byte opens the
root and the last closes it; from either, strings can be told from structure, for a quote that opens a string never has
a backslash before it, and a quote inside one always has. What is between the two ends is left out with whole members.
"""

from __future__ import annotations

import re

_FORWARD = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\],]', re.DOTALL)
_BACKWARD = re.compile(rb'"[^"]*(?:"(?=\\)[^"]*)*"(?!\\)|["{}\[\],]')


def abridge(head: bytes, tail: bytes | bytearray) -> bytes:
    """Join the root's first and last members, as far as they are whole; empty when that cannot be told."""
    head, tail = head.lstrip(b"\xef\xbb\xbf \t\r\n"), tail.rstrip(b" \t\r\n")
    if not head.startswith(b"{") or not tail.endswith(b"}"):
        return b""
    last_members = _find_inmost_comma(_BACKWARD, tail[::-1], opening=b"}]")
    if not last_members:
        return b""
    first_members = _find_inmost_comma(_FORWARD, head, opening=b"{[")
    return (head[:first_members] + b"," if first_members else b"{") + bytes(tail[-last_members:])


def _find_inmost_comma(token: re.Pattern[bytes], text: bytes | bytearray, *, opening: bytes) -> int:
    # The place of the last comma between members of the root; 0 when there is none.
    depth = place = 0
    for match in token.finditer(text):
        found = match.group()
        if found == b",":
            place = match.start() if depth == 1 else place
        elif found == b'"':  # a string that goes on past this end
            break
        elif len(found) == 1:
            depth += 1 if found in opening else -1
        if not depth:
            break
    return place
