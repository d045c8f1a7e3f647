"""A clock for requirements in seconds: it stands still while the machine lets others run in place of this process.

On an idle machine it is the monotonic clock. On a busy one a server that waits for the processor is not to blame for
being late, nor is the test that watches it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_THREADS = "/proc/self/task"

SLOWEST = 10.0
"""Seconds of a busy machine that count as one at most: threads may wait at the same time, and a wait has to end."""

UNLOOKED = 0.002
"""Seconds that count in full before the waiting of the threads is looked at again, which takes 0.1 ms."""


class FairClock:
    """Seconds since it was made, without those in which a thread of this process was ready but not run; see SLOWEST.

    Source: the second number of /proc/self/task/*/schedstat, nanoseconds spent waiting on a run queue; where there is
    no such file it counts every second.
    """

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._known = self._delays()
        self._counted = self._seconds = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Fair seconds so far, which never go back."""
        with self._lock:
            elapsed = time.monotonic() - self._looked
            if elapsed > UNLOOKED:
                now, looked = self._delays(), time.monotonic()
                # a thread that is new, or has the number of one that has ended, begins at nothing
                lost = sum(max(delay - self._known.get(thread, 0), 0) for thread, delay in now.items()) * 1e-9
                elapsed = looked - self._looked
                self._counted += max(elapsed - lost, elapsed / SLOWEST)
                self._known, self._looked, elapsed = now, looked, 0.0
            self._seconds = max(self._seconds, self._counted + elapsed)
            return self._seconds

    @staticmethod
    def _delays() -> dict[str, int]:
        delays: dict[str, int] = {}
        for thread in os.listdir(_THREADS) if os.path.isdir(_THREADS) else ():  # asked often: no Path, no text file
            with suppress(OSError, IndexError):  # it has just ended, or the system does not tell
                file = os.open(f"{_THREADS}/{thread}/schedstat", os.O_RDONLY)
                try:
                    delays[thread] = int(os.read(file, 100).split()[1])
                finally:
                    os.close(file)
        return delays


async def until(condition: Callable[[], bool], seconds: float = 3.0, what: str = "") -> float:
    """Wait until a condition holds and return how many fair seconds that took."""
    clock = FairClock()
    while not condition():
        assert clock() < seconds, f"{what or 'the condition'} still not true after {seconds} s"
        await asyncio.sleep(0.005)
    return clock()
