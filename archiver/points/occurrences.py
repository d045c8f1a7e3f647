"""Events for people, made of the PVs that announce them: trips, puts, power interruptions, links lost and back.

Each is a point of the measurement ``events``: tags ``channel``, ``device``, ``kind``; fields ``title``, ``text``,
``severity``. The stamp is that of the PV. The first value after a connection announces nothing: it was so before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from archiver.config import PvSpec
from archiver.points.lineprotocol import Point
from labioc_ca.events import Event, Kind, Value

MEASUREMENT: Final = "events"
NO_ALARM, MINOR, MAJOR = 0, 1, 2
SETTLED_NS: Final = 500_000_000
"""What belongs to an announcement (voltage of a trip, text of a report) comes within so long, before or after it."""

LONGEST_QUIET_GAP: Final = 10.0
"""Seconds without the bridge after which its start is in alarm: what happened meanwhile is missing."""

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*(?::[A-Z0-9_]+)+")


@dataclass(frozen=True, slots=True)
class _Announced:
    """Something that was announced and whose details may still be on their way; ``since_ns`` is monotonic."""

    rule: str
    pv: PvSpec
    event: Event
    since_ns: int


RULES: Final = (":TRIP:COUNT", ":PUT:MSG", ":PUTS", ":COMM", ":PWR:COUNT")
"""How the names of the PVs end that announce something; ``:PUTS`` is the IOC's."""

_LIST: Final = ":PUTS"
"""Shows the last puts, one a line, the newest first: what came while no event arrived is still there."""

_APART_NS: Final = 1_000
"""Two puts of one event get stamps so far apart, because points with the same stamp replace each other."""

_DETAILS: Final = (":TRIP:V", ":TRIP:I", ":COMM:MSG", ":PWR:MSG")


class Occurrences:
    """Looks at the events of the PVs that announce something, which is in ``announced`` until ``due`` returns it."""

    def __init__(self, pvs: Iterable[PvSpec]) -> None:
        self._pvs = {pv.name: pv for pv in pvs}
        self._rules = {name: rule for name in self._pvs for rule in RULES if name.endswith(rule)}
        self.watched = frozenset(name for name in self._pvs if name.endswith((*RULES, *_DETAILS)))
        self._values: dict[str, Value] = {}
        self.announced: list[_Announced] = []

    def take(self, name: str, event: Event, now_ns: int) -> None:
        """Look at an event of a PV that is ``watched``; ``now_ns`` is monotonic."""
        if event.kind == Kind.CONNECTION:
            if not name.endswith((*_DETAILS, _LIST)):
                self._values.pop(name, None)
            return
        before = self._values.get(name)
        self._values[name] = event.value
        rule = self._rules.get(name)
        if rule == _LIST and before is not None:
            for number, line in enumerate(_new_lines(str(before), str(event.value))):
                one = replace(event, value=line, seconds_ns=event.seconds_ns - number * _APART_NS)
                self.announced.append(_Announced(rule, self._pvs[name], one, now_ns))
            return
        if rule is None or before is None or before == event.value:
            return
        if rule in (":TRIP:COUNT", ":PWR:COUNT") and not _more(before, event.value):
            return
        self.announced.append(_Announced(rule, self._pvs[name], event, now_ns))

    def due(self, now_ns: int, *, everything: bool = False) -> list[str]:
        """Return the lines of what was announced long enough ago (``now_ns`` is monotonic), or of all of it."""
        ripe = [one for one in self.announced if everything or now_ns - one.since_ns >= SETTLED_NS]
        self.announced = [one for one in self.announced if one not in ripe]
        return [line for one in ripe if (line := self._line(one))]

    def _line(self, one: _Announced) -> str:
        pv, stamp, value = one.pv, one.event.seconds_ns, one.event.value
        place = f"{pv.device} channel {int(pv.channel)}" if pv.channel.isdecimal() else pv.device
        stem = pv.name.removesuffix(one.rule)
        match one.rule:
            case ":TRIP:COUNT":
                volts, current = (self._detail(f"{stem}:TRIP:{letter}") for letter in "VI")
                return occurrence("trip", f"{place} tripped", f"before: {volts}, {current}", MAJOR, stamp, pv)
            case ":PUT:MSG":
                return occurrence("refused", f"{place}: put refused", str(value), MINOR, stamp, pv) if value else ""
            case ":PUTS":
                target = next((self._pvs[name] for name in _NAME.findall(str(value)) if name in self._pvs), None)
                title = f"put to {target.name}" if target is not None else "put"
                return occurrence("put", title, str(value), NO_ALARM, stamp, target)
            case ":PWR:COUNT":
                text = self._detail(f"{stem}:PWR:MSG")
                return occurrence("power", f"{place}: power interruption", text, MAJOR, stamp, pv)
            case _:
                if value:
                    return occurrence("link", f"{place} is back", "", NO_ALARM, stamp, pv)
                return occurrence("link", f"{place} is lost", self._detail(f"{stem}:COMM:MSG"), MAJOR, stamp, pv)

    def _detail(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            return ""
        pv = self._pvs[name]
        text = f"{value:.{pv.precision}f}" if isinstance(value, float) and pv.precision is not None else str(value)
        return f"{text} {pv.unit}".rstrip()


def occurrence(kind: str, title: str, text: str, severity: int, stamp: int, pv: PvSpec | None = None) -> str:
    """Write one as a line of line protocol; ``pv`` tells device and channel, ``severity`` is 0 to 2."""
    tags = {}
    if pv is not None and pv.channel:
        tags["channel"] = str(int(pv.channel)) if pv.channel.isdecimal() else pv.channel
    if pv is not None and pv.device:
        tags["device"] = pv.device
    tags["kind"] = kind
    return Point(MEASUREMENT, tags, {"title": title, "text": text, "severity": severity}, stamp).line() + "\n"


def gap(since_ns: int, now_ns: int) -> str:
    """Write as a line that the archiver has started, and since when (Unix ns) nothing was archived; 0: never before."""
    seconds = (now_ns - since_ns) / 1e9
    text = f"nothing was archived for {seconds:.0f} s" if since_ns else "the first start on this log"
    severity = MINOR if since_ns and seconds > LONGEST_QUIET_GAP else NO_ALARM
    return occurrence("archiver", "archiver started", text, severity, now_ns)


def _new_lines(before: str, now: str) -> list[str]:
    """Return the lines in front of those that were there before."""
    old, lines = before.splitlines(), now.splitlines()
    kept = next(number for number in range(len(lines) + 1) if lines[number:] == old[: len(lines) - number])
    return lines[:kept]


def _more(before: Value, now: Value) -> bool:
    return isinstance(before, int | float) and isinstance(now, int | float) and now > before
