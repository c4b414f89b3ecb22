"""What the supervisor tells a worker process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Role = Literal["replicas", "pages"]

READY = b"r"
GRACEFUL_S = 8  # for what is being answered when a worker is told to end


@dataclass(frozen=True)
class Assignment:
    """What a worker is started for; descriptors are inherited."""

    role: Role
    listeners: tuple[int, ...]
    supervisor: int  # a socket: one byte says that the worker is ready, its end that the supervisor is gone
    threads: int
    pages: str | None  # the path of the socket at which the pages' workers listen, for those that hand requests on

    def write(self) -> str:
        """Write it as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Assignment:
        """Read what `write` wrote."""
        return cls(**json.loads(text))
