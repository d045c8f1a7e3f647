"""Waiting of a scan: for its next tick or whatever cannot wait, and between attempts to reach a device."""

from __future__ import annotations

import asyncio

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

    async def sleep(self, seconds: float | None = None) -> None:
        """Wait this long (None: for ever) unless woken."""
        self._event.clear()
        if seconds is not None and seconds <= 0:
            await self._clock.sleep(0)
            return
        timer = None if seconds is None else self._clock.call_later(seconds, self.wake)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()


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
