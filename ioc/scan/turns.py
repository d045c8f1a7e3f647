"""Sharing the event loop: how long one kind of work may hold it before everybody else gets a turn."""

from __future__ import annotations

import asyncio

from ioc.clock import Clock

POSTING = 0.002
"""Seconds of posting, by all devices together, in one turn of the loop."""

STARTS = 10
"""Scans that begin in one turn of the loop; each takes about a tenth of a millisecond."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, less the whole part, lie as far from each other as so many points of an interval can."""


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
