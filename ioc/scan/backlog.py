"""What of a device is to be read when the fast scan leaves time for it, in portions of about one exchange."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from devices.model import Driver, Portioned


class Backlog:
    """Signals that wait to be read, each of them once, first come first served."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiting: set[str] = set()
        self._portions: deque[Collection[str]] = deque()

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

    def clear(self) -> None:
        """Forget everything that waits."""
        self._waiting.clear()
        self._portions.clear()
