"""The assignment that the supervisor passes to a worker process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Role = Literal["replicas", "pages"]

READY = b"r"
GRACEFUL_S = 8  # for requests in progress when a worker is stopped


@dataclass(frozen=True)
class Assignment:
    """The parameters of a worker; file descriptors are inherited."""

    role: Role
    listeners: tuple[int, ...]
    supervisor: int  # a socket: one byte means that the worker is ready, end of file that the supervisor is gone
    threads: int
    pages: str | None  # path of the socket of the page workers, for workers that forward requests to them

    def write(self) -> str:
        """Format the assignment as a command-line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Assignment:
        """Parse what `write` returned."""
        return cls(**json.loads(text))
