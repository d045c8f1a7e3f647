"""What bad answers mean: one is left out, a second one is INVALID, several in a row are a lost device."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import repeat

from devices.errors import Garbled
from devices.model import Cause, Level, Reading, Value

LOST_AFTER = 4
"""Exchanges in a row, whatever they are about, of which nothing could be read: more than one fast scan of a supply."""

LOST_AFTER_SCANS = 2
"""Fast scans in a row without any answer, where a scan is given up with its first question."""


class BadAnswers:
    """Counts the reads of each item that brought no usable answer, and the exchanges in a row that brought nothing.

    An item is whatever the driver asks for: a parameter, a register, a parameter of one channel.
    """

    def __init__(self) -> None:
        self.counts: dict[Hashable, int] = {}
        """Reads in a row that brought nothing usable, by item; items without one are not here."""
        self._in_a_row = 0

    def reset(self) -> None:
        """Begin anew, as after connecting."""
        self.counts.clear()
        self._in_a_row = 0

    def good(self, *items: Hashable) -> None:
        """Count a usable answer about each of these."""
        for item in items:
            self.counts.pop(item, None)

    def bad(self, *items: Hashable) -> None:
        """Count that each of these was asked for, and not learnt."""
        for item in items:
            self.counts[item] = self.counts.get(item, 0) + 1

    def missed(self, *items: Hashable) -> int:
        """Return how many reads in a row brought nothing usable of these, the largest number."""
        return max(map(self.counts.get, items, repeat(0)), default=0) if self.counts else 0

    @property
    def fruitless(self) -> bool:
        """Whether nothing of the last exchange was understood."""
        return self._in_a_row > 0

    def exchanged(self, understood: bool, last_error: str, lost_after: int = LOST_AFTER) -> None:
        """Count an exchange of which something, or nothing, was understood.

        Raises Garbled when nothing has been ``lost_after`` times in a row: the device is to be taken as lost.
        """
        self._in_a_row = 0 if understood else self._in_a_row + 1
        if self._in_a_row >= lost_after:
            raise Garbled(f"{self._in_a_row} unreadable answers in a row, {last_error}")


def instead(missed: int, now: float, value: Value | None = None) -> Reading | None:
    """Return what is shown after so many reads without a usable answer, at least one, in place of the last value.

    The first is left out; from the second on the reading is INVALID, with this ``value`` where one says "unknown".
    ``now`` is Unix time.
    """
    return None if missed == 1 else Reading(value, now, Level.INVALID, Cause.READ)
