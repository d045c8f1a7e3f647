"""Rows: one point with all core fields of a channel or device, once per fast scan, whether or not anything changed.

Panels that ask for the last value, or group by time, find every field in every interval. What changes between two
rows is not lost: a value that would be overwritten before it was written makes a row at once.
"""

from __future__ import annotations

from typing import Final

SETTLED_NS: Final = 50_000_000
"""A row is written when no more of its values came for so long: the readings of one scan come together."""

SET_BACK_NS: Final = 2_000_000_000
"""A stamp that is older than the last row by more comes from a clock that was set back, and is kept as it is."""

REACHED_BACK_NS: Final = 30_000_000_000
"""The same for a time that was derived from the last data of the server."""

PRECISION_NS: Final = 1_000_000
"""Rows have stamps in whole milliseconds: a database packs them into a third of the space, for each of their fields."""

_DUE: Final = 0.8
"""Part of the period after which the next row is due: scans do not come with the precision of a clock."""


class Row:
    """The fields of one channel or device; stamps in Unix ns, ``arrived_ns`` by the monotonic clock.

    ``stamp_ns`` is the newest stamp of its values. ``changed`` is set when a value has left its dead-band, or its
    severity has changed, since the last row. ``valid`` has a bit for each field that holds a value now.
    """

    __slots__ = (
        "_later",
        "_pending",
        "_texts",
        "arrived_ns",
        "changed",
        "due_ns",
        "head",
        "last_ns",
        "points",
        "stamp_ns",
        "valid",
    )

    def __init__(self, head: str, period: float) -> None:
        self.head = head
        self.due_ns = round(period * _DUE * 1e9)
        self.arrived_ns = self.stamp_ns = self.last_ns = self.valid = self.points = 0
        self.changed = False
        self._pending = 0
        self._texts: list[str] = []
        self._later: dict[int, str] = {}

    def add(self) -> int:
        """Add a field; returns its place."""
        self._texts.append("")
        return len(self._texts) - 1

    def put(self, slot: int, text: str, later: str, valid: bool, changed: bool, stamp: int, arrived: int) -> str:
        """Take a value, as ``FIELD=1.5``; ``later`` is its text in the rows behind the next.

        Returns the row that has to be written before it, or nothing.
        """
        bit = 1 << slot
        line = ""
        if self._pending & bit and (self.changed or self.stamp_ns - self.last_ns >= self.due_ns):
            line = self.line(self.stamp_ns)
        self._texts[slot] = text
        if later != text:
            self._later[slot] = later
        else:
            self._later.pop(slot, None)
        self._pending |= bit
        self.valid = self.valid | bit if valid else self.valid & ~bit
        self.changed = self.changed or changed
        if stamp > self.stamp_ns or stamp < self.stamp_ns - SET_BACK_NS:
            self.stamp_ns = stamp
        self.arrived_ns = arrived
        return line

    def clear(self, slot: int) -> str:
        """Forget a value that holds no more; returns the row that has to be written before, or nothing."""
        line = self.line(self.stamp_ns) if self._pending else ""
        self._texts[slot] = ""
        self._later.pop(slot, None)
        self.valid &= ~(1 << slot)
        return line

    def due(self, now: int, reached: int) -> str:
        """Return the row that is due; ``now`` is monotonic, ``reached`` the time until which its values hold."""
        if self._pending and self.changed:
            return self.line(self.stamp_ns) if now - self.arrived_ns >= SETTLED_NS else ""
        stamp = max(reached, self.stamp_ns)
        passed = stamp - self.last_ns
        if self.valid and (passed >= self.due_ns or passed < -REACHED_BACK_NS):
            return self.line(stamp)
        return ""

    def line(self, stamp: int) -> str:
        """Write the row; nothing when none of its values is known."""
        stamp = -(-stamp // PRECISION_NS) * PRECISION_NS
        if self.last_ns - SET_BACK_NS < stamp <= self.last_ns:
            stamp = self.last_ns + PRECISION_NS
        self._pending = 0
        self.changed = False
        fields = ",".join(filter(None, self._texts))
        if not fields:
            return ""
        for slot, text in self._later.items():
            self._texts[slot] = text
        self._later.clear()
        self.last_ns = stamp
        self.points += 1
        return f"{self.head}{fields} {stamp}\n"
