"""The one clock of the application: everything that waits or stamps takes it as an argument.

Monotonic time is for intervals and deadlines, Unix time only for stamps that people and clients see; a step
of the computer's clock must not stop or hurry a scan. Tests inject a clock whose hands they move.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Timer(Protocol):
    """A call that has been asked for and may be given up."""

    def cancel(self) -> None:
        """Give the call up; harmless when it has been made."""


class Clock(Protocol):
    """Time as the scan engine, the put path and the statistics see it; all durations in seconds."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past, never stepping."""

    def time(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Let others run for this long."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back once after this long."""


class SystemClock:
    """The computer's own time, on the clock that the event loop uses too."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)

    @staticmethod
    def call_later(seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back once after this long, on the running loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)


async def wait_for(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Return when an event is set; it is set after this long at the latest."""
    timer = clock.call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()


def local_time(stamp: float) -> str:
    """Unix time as people read it: ``2026-11-21 07:00:49``, in the computer's time zone."""
    return datetime.fromtimestamp(stamp).strftime("%Y-%m-%d %H:%M:%S")
