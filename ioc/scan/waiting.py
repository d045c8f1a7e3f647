"""Waiting of a scan: for its next tick or whatever cannot wait, and between attempts to reach a device."""

from __future__ import annotations

import asyncio

from devices.model import Driver
from ioc.clock import Clock

FIRST_PAUSE = 0.25
"""Seconds before the first attempt to reconnect; doubled after each failure."""

SHORTEST_PAUSE = 0.05
"""Seconds after an attempt that has taken longer than its pause."""

LONGEST_PAUSE = 1.0
"""Seconds between attempts at most; leaves room in the five seconds in which a device has to be back."""


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


class Progress:
    """When the task of a device last got on, in monotonic time: it waits for its next turn, or something was answered.

    An exchange that fails is progress, too: a device that is lost keeps no other from going on.
    """

    def __init__(self, clock: Clock, sleeper: Sleeper, driver: Driver) -> None:
        self.last = clock.monotonic()
        self._clock = clock
        self._sleeper = sleeper
        self._driver = driver
        self._seen: tuple[float, ...] = ()

    def look(self) -> None:
        """Look whether it got on; to be called every second."""
        stats = self._driver.stats
        seen = self._sleeper.sleeps, stats.rtt, stats.errors, stats.reconnects
        if self._sleeper.sleeping or seen != self._seen:
            self._seen, self.last = seen, self._clock.monotonic()


class Pauses:
    """The pauses between attempts to reach a device. An attempt that waited for an answer has been a pause already."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = 0.0
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._pause = FIRST_PAUSE

    def begin(self, waited: float = 0.0) -> None:
        """Begin an attempt, of which so many seconds have passed."""
        self._begun = self._clock.monotonic() - waited

    def next_attempt(self) -> float:
        """Return when to try again after a failure, in monotonic time; the pause after that is longer."""
        now = self._clock.monotonic()
        at = max(now + SHORTEST_PAUSE, self._begun + self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return at
