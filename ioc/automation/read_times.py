"""When records were read, for rules that compare it with what was done: no step of the computer's clock counts."""

from __future__ import annotations

import math
from typing import Final

from ioc.clock import Clock
from ioc.records import Record

ROUNDING: Final = 1e-5
"""Seconds by which the stamp of a record may differ from when it was read."""


class ReadTimes:
    """Monotonic times of the last readings of records, each of which has to be looked at soon after it was read.

    The stamp of a reading is taken for such a time when it is new, so that a clock that is set back does not make an
    old reading look like one made since. One from before a step counts as older than anything.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[tuple[int, int], float]] = {}

    def of(self, record: Record) -> float:
        """Return when a record was read, in seconds of the monotonic clock; minus infinity when that is not known."""
        stamp = record.seconds, record.nanoseconds
        known, read_at = self._known.get(record.name, (None, 0.0))
        if known != stamp:
            age = self._clock.time() - record.stamp
            read_at = self._clock.monotonic() - age if age > -ROUNDING else -math.inf
            self._known[record.name] = stamp, read_at
        return read_at
