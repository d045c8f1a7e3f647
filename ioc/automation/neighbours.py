"""How far a channel may go now without its voltage differing too much from that of its neighbours.

A voltage that ramps is anywhere between what is measured and what is set, so each channel is taken as a range. A new
setting is only as far as the whole new range keeps the difference to the whole range of each neighbour, however fast
either of them ramps. All voltages here carry their sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Where a voltage may be, in V."""

    low: float
    high: float


def allowed(target: float, present: float, neighbours: Iterable[tuple[Range, float]]) -> float:
    """Return the setting next on the way from ``present`` to ``target`` that each neighbour permits.

    A neighbour is its range and the difference that it permits. Nothing is ever moved away from the target: what cannot
    move stays at ``present``.
    """
    low, high = target, target
    for other, difference in neighbours:
        high = min(high, other.low + difference)
        low = max(low, other.high - difference)
    if target >= present:
        return max(present, min(target, high))
    return min(present, max(target, low))
