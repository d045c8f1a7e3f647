"""Whether the readings of a high-voltage supply are old data that a hung device repeats.

A steady load draws a steady current, so equal readings alone say nothing. Part of the vendor-independent meaning in
devices.rules.hv_channel: no I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Hashable

FROZEN_AFTER = 60.0  # s without a change
FLOWING_STEPS = 10  # resolution steps of current below which a reading may well stand still
NOISY = 3  # changes of a current at a steady voltage that show that it has noise


class Activity:
    """When anything that one unit measures has changed last; shared by its channels."""

    def __init__(self) -> None:
        self._values: dict[Hashable, float] = {}
        self._changed: float | None = None

    def note(self, key: Hashable, value: float, now: float) -> None:
        """Take one reading of a quantity; ``now`` is monotonic time in seconds."""
        if self._changed is None or self._values.get(key) != value:
            self._values[key] = value
            self._changed = now

    def quiet(self, now: float) -> float:
        """Return for how many seconds nothing has changed."""
        return 0.0 if self._changed is None else now - self._changed

    def clear(self) -> None:
        """Begin anew, because the link was lost."""
        self._values.clear()
        self._changed = None


class FrozenCurrent:
    """Watch one current that flows.

    It is suspected after 60 s without a change, when either it does not follow a voltage that has changed meanwhile, or
    it had noise before and nothing else of the unit changes either.
    """

    __slots__ = ("_changes", "_imon", "_since", "_vmon")

    def __init__(self) -> None:
        self._imon: float | None = None
        self._vmon = 0.0
        self._since = 0.0
        self._changes = 0

    def observe(
        self, imon: float, vmon: float, step: float, *, flowing: bool, steady: bool, quiet: float, now: float
    ) -> bool:
        """Take one reading in uA and V; ``step`` is the resolution of the current in uA, ``now`` monotonic time in s.

        ``steady`` says that the voltage is not meant to change, ``quiet`` for how many seconds nothing of the unit has.
        """
        if not flowing or abs(imon) < FLOWING_STEPS * step:
            self._imon = None
            return False
        if imon != self._imon:
            if steady and self._imon is not None:
                self._changes += 1
            self._imon, self._vmon, self._since = imon, vmon, now
            return False
        if now - self._since < FROZEN_AFTER:
            return False
        follows = abs(imon * (vmon - self._vmon)) < FLOWING_STEPS * step * max(self._vmon, 1.0)
        return not follows or (self._changes >= NOISY and quiet >= FROZEN_AFTER)
