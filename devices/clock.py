"""Time as a driver sees it, so that a test can hand in its own."""

from __future__ import annotations

import asyncio
import time as system_time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverClock:
    """Unix time in seconds for stamps, monotonic seconds for intervals, and waiting."""

    time: Callable[[], float] = system_time.time
    monotonic: Callable[[], float] = system_time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
