"""The ``archive`` tag of a record: dead-band, minimum interval and heartbeat of one PV.

``monitor [DEADBAND|PERCENT%] [min SECONDS] [heartbeat SECONDS]``: ``monitor`` alone passes every event,
``monitor 0.5`` those that differ by more than 0.5 from the last point, ``monitor 1%`` by more than 1 % of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from labioc_ca.events import Event, Value

DEFAULT_HEARTBEAT: Final = 60.0
"""Seconds after which a PV with a dead-band gets a point although nothing moved."""

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Thinning:
    """Which events of a PV become points; times in seconds, 0 switches a rule off."""

    deadband: float = 0.0
    percent: bool = False
    minimum: float = 0.0
    heartbeat: float = 0.0

    @property
    def every(self) -> bool:
        """Whether each event becomes a point and nothing is repeated."""
        return not (self.deadband or self.minimum or self.heartbeat)


def parse_tag(tag: str) -> Thinning:
    """Read an ``archive`` tag; raises ValueError that says what is wrong with it."""
    words = tag.split()
    if not words or words.pop(0) != "monitor":
        raise ValueError(f"archive tag {tag!r}: must begin with 'monitor'")
    deadband, percent = 0.0, False
    if words and words[0] not in ("min", "heartbeat"):
        word = words.pop(0)
        percent = word.endswith("%")
        deadband = _number(tag, "dead-band", word.removesuffix("%"))
    times = {"min": 0.0, "heartbeat": DEFAULT_HEARTBEAT if deadband else 0.0}
    while words:
        name = words.pop(0)
        if name not in times:
            raise ValueError(f"archive tag {tag!r}: {name!r} is neither 'min' nor 'heartbeat'")
        if not words:
            raise ValueError(f"archive tag {tag!r}: {name!r} needs a number of seconds")
        times[name] = _number(tag, name, words.pop(0))
    return Thinning(deadband, percent, times["min"], times["heartbeat"])


def _number(tag: str, name: str, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"archive tag {tag!r}: {name} {word!r} is not a number of at least 0")
    return number


class Thinner:
    """Applies the rules to the events of one PV, in the time of their own stamps."""

    def __init__(self, rules: Thinning) -> None:
        self.sent: Event | None = None
        self.sent_ns = 0
        self.latest: Event | None = None
        self.waiting = False
        self._deadband, self._percent = rules.deadband, rules.percent
        self._minimum = round(rules.minimum * _NS)
        self._heartbeat = round(rules.heartbeat * _NS)

    def passes(self, event: Event) -> bool:
        """Whether an event becomes a point now; one that comes too early waits for ``due``."""
        self.latest = event
        self.waiting = False
        sent = self.sent
        if sent is not None and event.severity == sent.severity:
            elapsed = event.seconds_ns - self.sent_ns
            moved = self._moved(sent.value, event.value)
            if not moved and not (self._heartbeat and abs(elapsed) >= self._heartbeat):
                return False
            if 0 <= elapsed < self._minimum:
                self.waiting = moved
                return False
        self.sent, self.sent_ns = event, event.seconds_ns
        return True

    def due(self, now_ns: int, valid_ns: int) -> tuple[Event, int] | None:
        """Return an event that has waited for long enough, or the last value once more, with its stamp; else None.

        ``now_ns`` is what the clock of the IOC must show, ``valid_ns`` until when the last value is known to hold.
        """
        if self.latest is None:
            return None
        if self.waiting and now_ns - self.sent_ns >= self._minimum:
            return self.held_back()
        elapsed = abs(valid_ns - self.sent_ns)  # either way: clocks are set back
        if self._heartbeat and elapsed >= self._heartbeat and valid_ns >= self.latest.seconds_ns:
            self.sent, self.sent_ns = self.latest, valid_ns
            return self.latest, valid_ns
        return None

    def held_back(self) -> tuple[Event, int] | None:
        """Return the event that waits, with its stamp; it waits no more."""
        if self.latest is None or not self.waiting:
            return None
        self.waiting = False
        self.sent, self.sent_ns = self.latest, self.latest.seconds_ns
        return self.latest, self.sent_ns

    def forget(self) -> None:
        """Begin again when the last value holds no more: nothing is repeated, the next event passes."""
        self.sent = self.latest = None
        self.waiting = False

    def _moved(self, old: Value, new: Value) -> bool:
        if not self._deadband:
            return True
        if not (isinstance(old, (int, float)) and isinstance(new, (int, float))):  # int | float takes twice as long
            return old != new
        deadband = abs(old) * self._deadband / 100 if self._percent else self._deadband
        return not abs(new - old) <= deadband  # a NaN has moved
