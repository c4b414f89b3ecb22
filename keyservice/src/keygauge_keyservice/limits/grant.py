"""What is granted of a limit, whichever kind it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

_State = TypeVar("_State")


@dataclass(frozen=True)
class Grant(Generic[_State]):
    """The answer to a replica that asked for units; 0 units is a refusal."""

    state: _State
    units: int
    remaining: int  # what the limit still has
    ends_us: int  # the units may be spent before this moment
    reset_us: int  # from now until more comes free
    bucket: int = 0  # where the lease's units are counted: a quota's period, a flow's head, a rate's end
    start_us: int = 0  # … and from this moment on
    wait_us: int = 0  # … and so long after the replica asked, by its own clock
    is_exact: bool = False  # for use at once, and the moment of use is asked for
    is_small: bool = False  # such units only: the limit has too few to lease
