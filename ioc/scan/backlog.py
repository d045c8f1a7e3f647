"""What of a device is to be read when the fast scan leaves time for it, in portions of about one exchange."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable

from devices.model import Driver, Portioned

RETRY = 5.0
"""Seconds after which a signal is asked for again of which a portion brought nothing."""


class Backlog:
    """Signals that wait to be read, each of them once, first come first served."""

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
