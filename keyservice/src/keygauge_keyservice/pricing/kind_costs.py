"""What each kind of use costs, as one whole number that the ledger keeps beside a cost and adds up as it adds costs.

It has twenty decimal digits for each kind of `keygauge.kinds.CHARGED` but the first, the second kind's last; the first,
plain input, is what these leave of the cost. Kinds that cost nothing are zeros, which take no room at its front.
"""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.kinds import CHARGED

_PLACE = 10**20  # more than a sum of costs can be; PostgreSQL keeps four digits in two bytes, so zeros between are few


def pack(costs: Sequence[int]) -> int:
    """Write the costs of one call, in the order of `CHARGED`, as one number."""
    packed = 0
    for cost in reversed(costs[1:]):
        packed = packed * _PLACE + cost
    return packed


def unpack(cost_nanousd: int, packed: int) -> dict[str, int]:
    """Return the kinds that a cost is made of, in the order of `CHARGED`; they add up to it."""
    rest, costs = cost_nanousd, {CHARGED[0]: 0}
    for kind in CHARGED[1:]:
        if not packed:
            break
        packed, costs[kind] = divmod(packed, _PLACE)
        rest -= costs[kind]
    costs[CHARGED[0]] = rest
    return {kind: cost for kind, cost in costs.items() if cost}
