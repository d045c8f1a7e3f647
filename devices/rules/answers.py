"""What bad answers mean: one is left out, a second one is INVALID, several in a row are a lost device."""

from __future__ import annotations

from collections.abc import Hashable

from devices.errors import DeviceError, Garbled
from devices.model import Cause, Level, Reading

LOST_AFTER = 4
"""Answers in a row, whatever they are about, that could not be read: more than the fast signals of a small device."""


class BadAnswers:
    """Counts the reads of each item that brought no usable answer, and all of them that did so in a row.

    ``lost_after`` in a row means that the device is lost; 0 never says so. An item is whatever the driver asks for.
    """

    def __init__(self, lost_after: int = LOST_AFTER) -> None:
        self._lost_after = lost_after
        self._missed: dict[Hashable, int] = {}
        self._in_a_row = 0

    def reset(self) -> None:
        """Begin anew, as after connecting."""
        self._missed.clear()
        self._in_a_row = 0

    def good(self, item: Hashable) -> None:
        """Count an answer that could be read."""
        self._missed.pop(item, None)
        self._in_a_row = 0

    def bad(self, item: Hashable, error: DeviceError) -> None:
        """Count an answer that could not be read. Raises Garbled when the device is to be taken as lost."""
        self._missed[item] = self.missed(item) + 1
        self._in_a_row += 1
        if self._lost_after and self._in_a_row >= self._lost_after:
            self._in_a_row = 0
            raise Garbled(f"{self._lost_after} answers in a row could not be read, the last one: {error}") from error

    def missed(self, item: Hashable) -> int:
        """Return how many reads of an item in a row brought no usable answer."""
        return self._missed.get(item, 0)

    def judged(self, item: Hashable, reading: Reading | None, now: float) -> Reading | None:
        """Return the reading of an item as it counts: none after one bad answer, INVALID without value after more."""
        missed = self.missed(item)
        if not missed:
            return reading
        return None if missed == 1 else Reading(None, now, Level.INVALID, Cause.READ)
