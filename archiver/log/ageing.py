"""Whether the age of what the log holds means anything: a clock wrong for a second must not cost the archive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

JUMP: Final = 3600.0
"""Seconds by which the clock may differ from the time that has passed; more, and one of the two times was wrong."""

DOUBT: Final = 86400.0
"""Seconds for which nothing is dropped for its age after the clock has jumped, so that there is time to look."""

_NS: Final = 1_000_000_000


class Ageing:
    """Compares the clock (Unix ns) with the time that passes (``monotonic``, s); ``report`` is called at each doubt."""

    def __init__(self, now: int, monotonic: Callable[[], float], report: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._report = report
        self._looked = (now, monotonic())
        self._from = float("-inf")

    def counts(self, now: int) -> bool:
        """Whether something may be dropped for its age."""
        passed = self._monotonic()
        before, seen = self._looked
        self._looked = (now, passed)
        if (now - before) / _NS - (passed - seen) > JUMP:
            self.doubt()
        return passed >= self._from

    def doubt(self) -> None:
        """Let nothing be dropped for its age for a while."""
        self._from = self._monotonic() + DOUBT
        self._report()
