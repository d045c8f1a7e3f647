"""A clock for requirements in seconds: it stands still while the machine lets others run in place of this process.

On an idle machine it is the monotonic clock. On a busy one a server that waits for the processor is not to blame for
being late, nor is the test that watches it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


class FairClock:
    """Seconds since it was made, without those in which a thread of this process was ready but not run.

    Source: the second number of /proc/self/task/*/schedstat, nanoseconds spent waiting on a run queue; where there is
    no such file it counts every second.
    """

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._known = self._delays()
        self._lost = 0

    def __call__(self) -> float:
        """Fair seconds so far."""
        now = self._delays()
        # a thread that is new, or has the number of one that has ended, begins at nothing
        self._lost += sum(max(delay - self._known.get(thread, 0), 0) for thread, delay in now.items())
        self._known = now
        return time.monotonic() - self._begun - self._lost * 1e-9

    @staticmethod
    def _delays() -> dict[str, int]:
        delays: dict[str, int] = {}
        for thread in _THREADS.iterdir() if _THREADS.exists() else ():
            with suppress(OSError, IndexError):  # it has just ended, or the system does not tell
                delays[thread.name] = int((thread / "schedstat").read_text(encoding="ascii").split()[1])
        return delays
