"""The costs of each kind of use packed into one integer, which the ledger stores and sums like the cost itself.

It has twenty decimal digits for each kind of `keygauge.kinds.CHARGED` except the first; the second kind has the lowest
digits. The first kind, plain input, is the rest of the cost. Leading zeros take no space.
"""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.kinds import CHARGED

_PLACE = 10**20  # more than any sum of costs; PostgreSQL packs four digits into two bytes, so zeros take little space


def pack(costs: Sequence[int]) -> int:
    """Pack the costs of one call, in the order of `CHARGED`, into one number."""
    packed = 0
    for cost in reversed(costs[1:]):
        packed = packed * _PLACE + cost
    return packed


def unpack(cost_nanousd: int, packed: int) -> dict[str, int]:
    """Return the non-zero costs by kind, in the order of `CHARGED`; they add up to the total cost."""
    rest, costs = cost_nanousd, {CHARGED[0]: 0}
    for kind in CHARGED[1:]:
        if not packed:
            break
        packed, costs[kind] = divmod(packed, _PLACE)
        rest -= costs[kind]
    costs[CHARGED[0]] = rest
    return {kind: cost for kind, cost in costs.items() if cost}
