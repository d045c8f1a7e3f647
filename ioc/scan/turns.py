"""What a scan waits for: its turn of the event loop, its next tick, whatever cannot wait, and its next attempt."""

from __future__ import annotations

import asyncio

from devices.model import Driver
from ioc.clock import Clock

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
