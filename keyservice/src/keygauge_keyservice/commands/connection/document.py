"""Types that commands and the API exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[
    [str, str, Mapping[str, str], Document | None], tuple[int, bytes]
]  # method, path, query, body
