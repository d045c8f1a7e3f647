"""When a device is read: which of its signals are due, and what its scan waits for.

Deadlines lie on a fixed grid that starts when the device was first read, so they do not drift, and rates that
are multiples of each other fall together and share one batch. A cycle that takes longer than its period is
followed at once by the next one; ticks that have passed meanwhile are skipped, never made up for. A scan waits for its
turn of the event loop, its next tick, whatever cannot wait, and its next attempt to connect.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection, Iterable

from devices.model import Driver, Portioned
from ioc.clock import Clock
from ioc.database.support import PERIODS

_EARLY = 0.002
"""Ticks this close (seconds) are one: they share a batch instead of following each other."""

RETRY = 5.0
"""Seconds after which a signal is asked for again of which a portion brought nothing."""

POSTING = 0.002
"""Seconds of posting, by all devices together, in one turn of the loop."""

STARTS = 10
"""Scans that begin in one turn of the loop; each takes about a tenth of a millisecond."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, less the whole part, lie as far from each other as so many points of an interval can."""

FIRST_PAUSE = 0.25
"""Seconds before the first attempt to reconnect; doubled after each failure."""

SHORTEST_PAUSE = 0.05
"""Seconds after an attempt that has taken longer than its pause."""

LONGEST_PAUSE = 1.0
"""Seconds between attempts at most; leaves room in the five seconds in which a device has to be back."""


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


def phase(number: int) -> float:
    """Return where in the period the scans of a server's device number so-and-so begin, from 0 to 1.

    Devices that all answer at one moment make their clients wait for the last of them; spread over the period, hardly
    any has to wait for another.
    """
    return number * _GOLDEN % 1.0


class Turns:
    """What the devices of a server share: one posts at a time, first come, first served, and in slices.

    Used as an asynchronous context manager around posting; inside, ``over`` is asked after each reading and
    ``yield_to_loop`` awaited when it says so.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._begun: float | None = None
        self._started = 0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            if self.over():
                await self.yield_to_loop()
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    def over(self) -> bool:
        """Return whether it is time to yield to the loop; the first question in a turn of the loop begins a slice."""
        now = self._clock.monotonic()
        if self._begun is None:
            self._begun = now
            asyncio.get_running_loop().call_soon(self._next_slice)
        return now - self._begun >= POSTING

    async def yield_to_loop(self) -> None:
        """Let the rest of the loop run."""
        await self._clock.sleep(0)

    async def start(self) -> None:
        """Wait for a turn to begin a scan; hardly ever needed, but fifty devices may be due at one moment."""
        while self._started >= STARTS:
            await self._clock.sleep(0)
        if self._started == 0:
            asyncio.get_running_loop().call_soon(self._next_starts)
        self._started += 1

    def _next_slice(self) -> None:
        self._begun = None

    def _next_starts(self) -> None:
        self._started = 0


class Sleeper:
    """One task that waits, and can be woken."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()
        self.wake = self._event.set
        self.sleeps = 0
        self.sleeping = False

    async def sleep(self, seconds: float | None = None) -> None:
        """Wait this long (None: for ever) unless woken."""
        self._event.clear()
        self.sleeps += 1
        if seconds is not None and seconds <= 0:
            await self._clock.sleep(0)
            return
        timer = None if seconds is None else self._clock.call_later(seconds, self.wake)
        self.sleeping = True
        try:
            await self._event.wait()
        finally:
            self.sleeping = False
            if timer is not None:
                timer.cancel()
