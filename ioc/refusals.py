"""Refused puts in the log: the first of each cause at once, those that follow within ten seconds as a number."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from ioc.clock import Clock, Timer

log = logging.getLogger("labioc.puts")

PERIOD = 10.0
"""Seconds for which refusals of one cause are counted before they are logged again."""

MOST_CAUSES = 100
"""Causes that are kept apart at a time; more come only of clients that send anything."""

_DETAIL = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?\d[\d.]*(?:e[-+]?\d+)?")
"""What differs between refusals of one cause: numbers, and quoted words."""


@dataclass(slots=True)
class _Counted:
    timer: Timer
    more: int = 0
    last: str = ""


class RefusalLog:
    """Logs refusals; ``owner`` is the device, or the record, that a refused put was for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._causes: dict[tuple[str, str], _Counted] = {}

    def note(self, owner: str, reason: str, text: str) -> None:
        """Log a refusal described by ``text``, or count it."""
        cause = owner, _DETAIL.sub("#", reason)
        if cause not in self._causes and len(self._causes) >= MOST_CAUSES:
            cause = "", "other causes"
        if (counted := self._causes.get(cause)) is not None:
            counted.more += 1
            counted.last = text
            return
        log.warning("refused %s", text)
        self._causes[cause] = _Counted(self._clock.call_later(PERIOD, lambda: self._over(cause)))

    def close(self) -> None:
        """Log what has been counted."""
        for cause, counted in list(self._causes.items()):
            counted.timer.cancel()
            self._over(cause)

    def _over(self, cause: tuple[str, str]) -> None:
        counted = self._causes.pop(cause)
        if counted.more:
            log.warning("refused %d more for the same reason, the last one %s", counted.more, counted.last)
