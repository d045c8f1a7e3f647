"""Which signals of a device are due when, without any waiting: those of the periodic scan, and those read behind it.

Deadlines lie on a fixed grid that starts when the device was first read, so they do not drift, and rates that
are multiples of each other fall together and share one batch. A cycle that takes longer than its period is
followed at once by the next one; ticks that have passed meanwhile are skipped, never made up for.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable

from devices.model import Driver, Portioned
from ioc.database.support import PERIODS

_EARLY = 0.002
"""Ticks this close (seconds) are one: they share a batch instead of following each other."""

RETRY = 5.0
"""Seconds after which a signal is asked for again of which a portion brought nothing."""


class Schedule:
    """The periodic signals of one device, by rate; the grid is moved by ``phase`` of the shortest period.

    Signals with a period of at most ``fast`` seconds are those of the fast scan, or those of the shortest period when
    there are none.
    """

    def __init__(self, phase: float = 0.0, fast: float = 1.0) -> None:
        self._phase = phase
        self._longest_fast = fast
        self._groups: dict[float, dict[str, str]] = {}
        self._due: dict[float, float] = {}
        self._origin = 0.0

    def place(self, record: str, signal: str, scan: str, now: float) -> None:
        """Put a record's signal under the rate that its SCAN field names; under none if not periodic."""
        for period in [period for period, group in self._groups.items() if group.pop(record, None)]:
            if not self._groups[period]:
                del self._groups[period], self._due[period]
        period = PERIODS.get(scan, 0.0)
        if period:
            self._groups.setdefault(period, {})[record] = signal
            self._due.setdefault(period, self._after(now, period))

    def start(self, now: float) -> None:
        """Lay the grid so that everything counts as read at this moment, or up to one shortest period before it."""
        self._origin = now - self._phase * min(self._groups, default=0.0)
        self._due = {period: self._origin + period for period in self._groups}

    def next_due(self) -> float | None:
        """Return the monotonic time of the next tick; None when nothing is periodic."""
        return min(self._due.values(), default=None)

    def is_due(self, now: float) -> bool:
        """Return whether a tick has come."""
        due = self.next_due()
        return due is not None and due <= now

    def fast(self) -> list[str]:
        """Return the signals of the fast scan."""
        limit = self._fast_limit()
        return list(dict.fromkeys(
            name for period, group in self._groups.items() if period <= limit for name in group.values()
        ))  # fmt: skip

    def _fast_limit(self) -> float:
        return max(self._longest_fast, min(self._groups, default=0.0))

    def take(self, now: float) -> tuple[list[str], list[str]]:
        """Return the signals that are due, those of the fast scan apart from the others, and move their deadlines.

        The next deadline is the next tick that is still ahead.
        """
        fast: dict[str, None] = {}
        others: dict[str, None] = {}
        limit = self._fast_limit()
        for period, due in self._due.items():
            if due <= now + _EARLY:
                names = fast if period <= limit else others
                names.update(dict.fromkeys(self._groups[period].values()))
                missed = math.floor((now + _EARLY - due) / period)
                self._due[period] = due + (missed + 1) * period
        return list(fast), [name for name in others if name not in fast]

    def _after(self, now: float, period: float) -> float:
        """Return the first point of the grid of this period after now."""
        return self._origin + max(1, math.ceil((now + _EARLY - self._origin) / period)) * period


class Backlog:
    """What is to be read when the fast scan leaves time, each signal once, in portions of about one exchange."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiting: set[str] = set()
        self._portions: deque[Collection[str]] = deque()
        self._unread: set[str] = set()
        self._recalled = -math.inf

    def __bool__(self) -> bool:
        return bool(self._portions)

    def add(self, names: Iterable[str]) -> None:
        """Have these signals read, unless they wait already."""
        new = [name for name in names if name not in self._waiting]
        if new:
            self._waiting.update(new)
            self._portions.extend(self._driver.portions(new) if isinstance(self._driver, Portioned) else [new])

    def take(self) -> Collection[str]:
        """Return the next portion; raises IndexError when nothing waits."""
        portion = self._portions.popleft()
        self._waiting.difference_update(portion)
        return portion

    def ask_again(self, names: Iterable[str]) -> None:
        """Have signals read again later, because a portion brought nothing of them (a single bad answer)."""
        self._unread.update(names)

    def recall(self, now: float) -> None:
        """Let those wait again whose time has come; ``now`` is monotonic time in seconds."""
        if self._unread and now - self._recalled >= RETRY:
            self._recalled = now
            self.add(sorted(self._unread))
            self._unread.clear()

    def clear(self) -> None:
        """Forget everything that waits."""
        self._unread.clear()
        self._waiting.clear()
        self._portions.clear()
