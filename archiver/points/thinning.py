"""When a value becomes a point: by the ``archive`` tag of its record, or in a row.

``monitor [DEADBAND|PERCENT%] [min SECONDS] [heartbeat SECONDS]``: ``monitor`` alone passes every event,
``monitor 0.5`` those that differ by more than 0.5 from the last point, ``monitor 1%`` by more than 1 % of it.

A row is one point with all core fields of a channel or device, once per fast scan, whether or not anything changed:
panels that ask for the last value, or group by time, find every field in every interval. What changes between two rows
is not lost: a value that would be overwritten before it was written makes a row at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from labioc_ca.events import Event, Value

DEFAULT_HEARTBEAT: Final = 60.0
"""Seconds after which a PV with a dead-band gets a point although nothing moved."""

SETTLED_NS: Final = 50_000_000
"""A row is written when no more of its values came for so long: the readings of one scan come together."""

SET_BACK_NS: Final = 2_000_000_000
"""A stamp that is older than the last row by more comes from a clock that was set back, and is kept as it is."""

REACHED_BACK_NS: Final = 30_000_000_000
"""The same for a time that was derived from the last data of the server."""

PRECISION_NS: Final = 1_000_000
"""Rows have stamps in whole milliseconds: a database packs them into a third of the space, for each of their fields."""

_DUE: Final = 0.8
"""Part of the period after which the next row is due: scans do not come with the precision of a clock."""

ON_THE_WAY_NS: Final = 2 * 1_000_000_000
"""How late an event may be; a value is repeated for no moment from which another might still be on its way."""

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

    def forget(self) -> tuple[Event, int] | None:
        """Return what ``held_back`` does, and begin again: nothing is repeated, the next event passes."""
        waited = self.held_back()
        self.sent = self.latest = None
        return waited

    def _moved(self, old: Value, new: Value) -> bool:
        if not self._deadband:
            return True
        if not (isinstance(old, (int, float)) and isinstance(new, (int, float))):  # int | float takes twice as long
            return old != new
        deadband = abs(old) * self._deadband / 100 if self._percent else self._deadband
        return not abs(new - old) <= deadband  # a NaN has moved


@dataclass(slots=True)
class Group:
    """PVs whose stamps come from one clock: those of one device.

    ``newest_ns`` is the newest stamp, ``arrived_ns`` when it came (monotonic), ``seen_ns`` the newest at the last look
    for what is due, ``reached_ns`` at the last but one: all that the device had to report until then has arrived.
    """

    newest_ns: int = 0
    arrived_ns: int = 0
    seen_ns: int = 0
    reached_ns: int = 0


class Row:
    """The fields of one channel or device, ``pv`` one of them; stamps in Unix ns, ``arrived_ns`` monotonic.

    ``stamp_ns`` is the newest stamp of its values. ``changed`` is set when a value has left its dead-band, or its
    severity has changed, since the last row. ``valid`` has a bit for each field that holds a value now.
    """

    def __init__(self, head: str, period: float, group: Group, pv: str) -> None:
        self.head, self.group, self.pv = head, group, pv
        self.due_ns = round(period * _DUE * 1e9)
        self.arrived_ns = self.stamp_ns = self.last_ns = self.valid = self.points = 0
        self.changed = False
        self._pending = 0
        self._texts: list[str] = []
        self._later: dict[int, str] = {}

    def add(self) -> int:
        """Add a field; returns its place."""
        self._texts.append("")
        return len(self._texts) - 1

    def put(self, slot: int, text: str, later: str, valid: bool, changed: bool, stamp: int, arrived: int) -> str:
        """Take a value, as ``FIELD=1.5``; ``later`` is its text in the rows behind the next.

        Returns the row that has to be written before it, or nothing.
        """
        bit = 1 << slot
        line = ""
        if self._pending & bit and (self.changed or self.stamp_ns - self.last_ns >= self.due_ns):
            line = self.line(self.stamp_ns)
        self._texts[slot] = text
        if later != text:
            self._later[slot] = later
        else:
            self._later.pop(slot, None)
        self._pending |= bit
        self.valid = self.valid | bit if valid else self.valid & ~bit
        self.changed = self.changed or changed
        if stamp > self.stamp_ns or stamp < self.stamp_ns - SET_BACK_NS:
            self.stamp_ns = stamp
        self.arrived_ns = arrived
        return line

    def clear(self, slot: int) -> str:
        """Forget a value that holds no more; returns the row that has to be written before, or nothing."""
        line = self.line(self.stamp_ns) if self._pending else ""
        self._texts[slot] = ""
        self._later.pop(slot, None)
        self.valid &= ~(1 << slot)
        return line

    def due(self, now: int, last_received: Callable[[str], int]) -> str:
        """Return the row that is due; ``now`` and what ``last_received`` tells of a PV's server are monotonic."""
        if self._pending and self.changed:
            return self.line(self.stamp_ns) if now - self.arrived_ns >= SETTLED_NS else ""
        group = self.group
        reached = group.reached_ns
        if not self.changed and reached - self.last_ns < self.due_ns:
            # Nothing of the device moves: the time that must have passed for it, as long as its server sends.
            reached = max(reached, group.newest_ns + last_received(self.pv) - group.arrived_ns - ON_THE_WAY_NS)
        stamp = max(reached, self.stamp_ns)
        passed = stamp - self.last_ns
        if self.valid and (passed >= self.due_ns or passed < -REACHED_BACK_NS):
            return self.line(stamp)
        return ""

    def line(self, stamp: int) -> str:
        """Write the row; nothing when none of its values is known."""
        stamp = -(-stamp // PRECISION_NS) * PRECISION_NS
        if self.last_ns - SET_BACK_NS < stamp <= self.last_ns:
            stamp = self.last_ns + PRECISION_NS
        self._pending = 0
        self.changed = False
        fields = ",".join(filter(None, self._texts))
        if not fields:
            return ""
        for slot, text in self._later.items():
            self._texts[slot] = text
        self._later.clear()
        self.last_ns = stamp
        self.points += 1
        return f"{self.head}{fields} {stamp}\n"
