"""Events become points: lines of line protocol, with the time stamp of the IOC to the nanosecond.

Default schema: a measurement for each device type, tags ``device`` and ``channel``, one field for each PV; or a
measurement for each PV with the field ``value``. The core signals of a channel come together in rows, everything else
when it changes. The severity goes along as the integer field ``<FIELD>_sev`` when it is not zero or has changed.
Numbers that are no number are never sent, their severity is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final

from archiver.config import PvSpec, Schema
from archiver.points.lineprotocol import escape_key, quote
from archiver.points.occurrences import Occurrences, gap
from archiver.points.series import FieldType, PvState, Series, channel_name
from archiver.points.thinning import ON_THE_WAY_NS, Group, Row, Thinner
from labioc_ca.events import EPICS_EPOCH, Event, Value

log = logging.getLogger("labioc.archiver")

BRIDGE: Final = "archive_bridge"
"""Measurement of start and stop of the bridge: tag ``host``, field ``running`` 0 or 1."""

NEVER_SET_NS: Final = EPICS_EPOCH * 1_000_000_000
"""The stamp of a record that was never processed: its value is the one it was made with, and no event."""

EARLIEST_NS: Final = (EPICS_EPOCH + 365 * 86400) * 1_000_000_000
"""1991-01-01: an earlier stamp is one that was never set."""

AHEAD_NS: Final = 86400 * 1_000_000_000
"""A stamp further ahead of the bridge's clock comes from a clock that is wrong."""

LONGEST_TEXT: Final = 60_000
"""Bytes of a string value; InfluxDB takes 64 KiB."""

INVALID: Final = 3
"""Severity of a value that is none; a PV whose device is lost keeps the stamp of its last good one."""

_LONGEST_TICK, _SHORTEST_TICK = 0.25, 0.05
"""Seconds between two looks for what is due; four in the period of the fastest rows, within these."""

_DUE_NS: Final = 1_000_000_000
_INT64: Final = 1 << 63
_FIELDS_AT_ONCE: Final = 200


class Refused(Enum):
    """Why an event did not become a point."""

    UNKNOWN = "not a PV of the configuration"
    STAMP = "time stamp before 1991 or more than 24 h ahead"
    NOT_FINITE = "NaN or infinity"
    TYPE = "value does not fit the type of the field"
    LONG = "text or array too long"


class PointBuilder:
    """Makes lines of events. Raises ValueError for a bad archive tag.

    ``append`` gets the lines of what it takes, and how many they are. ``clock`` gives Unix nanoseconds, ``monotonic``
    nanoseconds as ``time.monotonic_ns`` does. ``failed_ns`` is when points that were due could not be made (monotonic).
    """

    def __init__(
        self,
        pvs: Iterable[PvSpec],
        schema: Schema,
        *,
        append: Callable[[bytes, int], None] = lambda lines, points: None,
        host: str | None = None,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.refused: Counter[Refused] = Counter()
        self.failed_ns: float = -math.inf
        self._append = append
        self._clock = clock
        self._monotonic = monotonic
        self._host = host or socket.gethostname()
        self._series: dict[str, Series] = {}
        self._thinned: list[tuple[Series, Thinner]] = []
        self._groups: dict[str, Group] = {}
        self._rows: dict[str, Row] = {}
        pvs = list(pvs)
        self._occurrences = Occurrences(pvs)
        for pv in pvs:
            channel = channel_name(pv)
            series = self._series[channel] = Series(pv, schema)
            series.watched = pv.name in self._occurrences.watched
            if pv.device:
                series.group = self._groups.setdefault(pv.device, Group())
            if series.group is not None and (period := schema.row_period(pv)):
                row = Row(series.head, period, series.group, channel)
                series.row = self._rows.setdefault(series.head, row)
                series.slot = series.row.add()
            elif series.thinner is not None:
                self._thinned.append((series, series.thinner))
        periods = [period / 4 for pv in pvs if (period := schema.row_period(pv))]
        self._tick = max(min([_LONGEST_TICK, *periods]), _SHORTEST_TICK)

    def take(self, events: list[Event]) -> None:
        """Append the points of events."""
        lines, points = self.build(events)
        if points:
            self._append(lines, points)

    async def run(self, last_received: Callable[[str], int]) -> None:
        """Append in time, until cancelled, what is due without an event; ``last_received`` is as for ``due``."""
        looked = self._monotonic()
        while True:
            await asyncio.sleep(self._tick)
            made = [self.tick]
            if self._monotonic() - looked >= _DUE_NS:
                looked = self._monotonic()
                made.append(self.due)
            for make in made:
                try:
                    self._append(*make(last_received))
                except Exception:
                    self.failed_ns = self._monotonic()
                    log.critical("points that were due could not be made, the bridge goes on", exc_info=True)

    def build(self, events: Iterable[Event]) -> tuple[bytes, int]:  # noqa: PLR0915 - calls would cost half as much again
        """Return the lines of events and how many they are; refused ones are counted.

        An event with the stamp of the one before and another content gets a stamp 1 ns later: a database would put
        it in the place of that. So does an INVALID one that is the first of all: the good one with its stamp may be
        there since an earlier run.
        """
        lines: list[str] = []
        changes: dict[str, dict[str, str]] = {}
        known = self._series
        latest = self._clock() + AHEAD_NS
        arrived = self._monotonic()
        for event in events:
            series = known.get(event.pv)
            if series is None:
                self.refused[Refused.UNKNOWN] += 1
                continue
            if event.kind == 7:  # Kind.CONNECTION; a look-up of the member would cost as much as all the rest
                if series.watched:
                    self._occurrences.take(series.pv, event, arrived)
                lines += self._begin_again(series)
                lines += self._changed(series, event, changes)
                continue
            given = stamp = event.seconds_ns
            series.events += 1
            series.last_ns = given
            if not 0 < series.stamp_ns < given <= latest:
                stamp = self._stamp(series, event, latest)
                if not stamp:
                    lines += self._begin_again(series)
                    continue
                event.seconds_ns = stamp
            group = series.group
            if group is not None and (given > group.newest_ns or given < series.given_ns):
                group.newest_ns = given  # or else the clock was set back, and what it showed before is no time
                group.arrived_ns = arrived
            value, severity = event.value, event.severity
            series.given_ns, series.stamp_ns = given, stamp
            series.value, series.reported = value, severity
            if series.watched:
                self._occurrences.take(series.pv, event, arrived)
            if series.row is not None:
                line = self._into_row(series, series.row, event, arrived)
                if line:
                    lines.append(line)
                continue
            if series.thinner is not None:
                series.arrived_ns = arrived
                if not series.thinner.passes(event):
                    continue
            if severity or series.severity or not series.floats or type(value) is not float or value - value != 0.0:
                line = self._line(series, value, severity, stamp)
                if not line:
                    continue
                lines.append(line)
            else:
                lines.append(f"{series.start}{value!r} {stamp}\n")
            series.points += 1
        for start, fields in changes.items():
            lines += _connection_lines(start, fields)
        return "".join(lines).encode(), len(lines)

    def due(self, last_received: Callable[[str], int] = lambda pv: 0) -> tuple[bytes, int]:
        """Return what minimum interval and heartbeat ask for now; to be called about once a second.

        A repeated value carries the newest stamp of its device, less what may be on its way, so that it stays in the
        time of the IOC. A PV that belongs to no device has its own stamp and what has passed since then, up to the
        moment at which data of its server was ``last_received`` (by the monotonic clock, ns).
        """
        lines = []
        now = self._monotonic()
        for series, thinner in self._thinned:
            if not series.connected:
                continue
            last = series.stamp_ns
            if series.group is not None:
                reached = series.group.newest_ns
            else:
                reached = last + last_received(series.pv) - series.arrived_ns
            found = thinner.due(max(last + now - series.arrived_ns, reached), reached - ON_THE_WAY_NS)
            lines += self._again(series, found)
        return "".join(lines).encode(), len(lines)

    def tick(self, last_received: Callable[[str], int] = lambda pv: 0) -> tuple[bytes, int]:
        """Return the rows that are due, and the events for people; to be called several times in a row's period.

        ``last_received`` returns when data of the server of a PV came last, by the monotonic clock in ns.
        """
        lines = []
        now = self._monotonic()
        for group in self._groups.values():
            group.reached_ns, group.seen_ns = group.seen_ns, group.newest_ns
        for row in self._rows.values():
            if line := row.due(now, last_received):
                lines.append(line)
        if self._occurrences.announced:
            lines += self._occurrences.due(now)
        return "".join(lines).encode(), len(lines)

    def finish(self) -> tuple[bytes, int]:
        """Return what the minimum interval, and rows that are not complete, still hold back."""
        lines = [row.line(row.stamp_ns) for row in self._rows.values() if row.changed]
        lines += self._occurrences.due(self._monotonic(), everything=True)
        for series, thinner in self._thinned:
            lines += self._again(series, thinner.held_back())
        return "".join(lines).encode(), len(lines)

    def bridge(self, running: bool) -> tuple[bytes, int]:
        """Return the point that says that the bridge starts or stops, stamped with its own clock."""
        return f"{BRIDGE},host={escape_key(self._host)} running={int(running)}i {self._clock()}\n".encode(), 1

    def gap(self, since_ns: int) -> tuple[bytes, int]:
        """Return the event that says since when (Unix ns) nothing was archived; 0: never before."""
        return gap(since_ns, self._clock()).encode(), 1

    def states(self) -> Iterator[PvState]:
        """Tell what became of each PV's events."""
        for one in self._series.values():
            points = one.row.points if one.row is not None else one.points
            yield PvState(one.pv, one.connected, one.last_ns, one.events, points, one.refused)

    def _changed(self, series: Series, event: Event, changes: dict[str, dict[str, str]]) -> list[str]:
        """Note a change of connection in ``changes``; those of one device that come together are one point."""
        series.connected = event.connected
        series.severity = -1
        fields = changes.setdefault(series.connection, {"": str(event.seconds_ns)})
        earlier: list[str] = []
        if series.connection_field in fields:  # lost and back at once: two points
            earlier = _connection_lines(series.connection, fields)
            fields = changes[series.connection] = {"": str(event.seconds_ns)}
        fields[series.connection_field] = f"{int(event.connected)}i"
        return earlier

    def _into_row(self, series: Series, row: Row, event: Event, arrived: int) -> str:
        """Put a value into its row; returns a row that had to be written before."""
        severity = event.severity
        text = self._text(series, event.value)
        if text is None and _no_number(event.value):
            severity = INVALID
        changed = series.thinner is None or series.thinner.passes(event)
        if severity != series.severity:
            changed = True
        plain = "" if text is None or severity == INVALID else f"{series.field_start}{text}"
        full = plain
        if severity or severity != series.severity:
            full = f"{plain}{series.severity_field}{severity}i".removeprefix(",")
        series.severity = severity
        return row.put(series.slot, full, full if severity else plain, bool(plain), changed, event.seconds_ns, arrived)

    def _begin_again(self, series: Series) -> list[str]:
        """Repeat the last value no more, because it may hold no more; return what was held back of it."""
        waited = series.thinner.forget() if series.thinner is not None else None
        if series.row is not None:
            line = series.row.clear(series.slot)
            return [line] if line else []
        return self._again(series, waited)

    def _again(self, series: Series, found: tuple[Event, int] | None) -> list[str]:
        """Make the point of a value that was held back, or of one that is repeated, if there is one."""
        if found is None:
            return []
        event, stamp = found
        if stamp != event.seconds_ns and (event.severity == INVALID or _no_number(event.value)):
            line = _with_severity(series, None, INVALID, stamp)
        else:
            line = self._line(series, event.value, event.severity, stamp)
        if not line:
            return []
        series.points += 1
        return [line]

    def _stamp(self, series: Series, event: Event, latest: int) -> int:
        """Return the stamp of an event that is not simply newer than the one before it; 0 when it is none."""
        given, last = event.seconds_ns, series.stamp_ns
        if not EARLIEST_NS <= given <= latest:
            if given != NEVER_SET_NS:
                self._refuse(series, Refused.STAMP)
            return 0
        if series.given_ns <= given <= last:
            same = event.severity == series.reported and event.value == series.value
            return last if same else last + 1
        return given + 1 if not series.given_ns and event.severity == INVALID else given

    def _line(self, series: Series, value: Value, severity: int, stamp: int) -> str:
        """Make the line of a value; nothing when it cannot be written and its severity need not be."""
        text = self._text(series, value)
        if text is None and _no_number(value):
            severity = INVALID
        return _with_severity(series, text, severity, stamp)

    def _refuse(self, series: Series, reason: Refused) -> None:
        series.refused += 1
        self.refused[reason] += 1

    def _text(self, series: Series, value: Value) -> str | None:
        """Write a value as its field wants it; None when it cannot be, which is counted."""
        reason = Refused.TYPE
        if isinstance(value, int | float):
            if not math.isfinite(value):
                reason = Refused.NOT_FINITE
            elif series.floats:
                return repr(float(value))
            elif series.type is FieldType.BOOLEAN:
                return "true" if value else "false"
            elif series.type is FieldType.TEXT and series.forced:
                return quote(str(value))
            elif (
                series.type is FieldType.INTEGER
                and -_INT64 <= value < _INT64
                and (series.forced or int(value) == value)
            ):
                return f"{round(value)}i"
        elif value is not None and (series.type is FieldType.TEXT or series.type is FieldType.NUMBER_OR_TEXT):
            text = value if isinstance(value, str) else _array_text(value)
            if len(text) <= LONGEST_TEXT and len(text.encode()) <= LONGEST_TEXT:
                return quote(text)
            reason = Refused.LONG
        self._refuse(series, reason)
        return None


def _no_number(value: Value) -> bool:
    """Whether a value is NaN or infinite: no reading, whatever severity the IOC gave to it."""
    return isinstance(value, float) and not math.isfinite(value)


def _connection_lines(start: str, fields: dict[str, str]) -> list[str]:
    """Write the points of changes of connection; the stamp is under an empty name."""
    stamp = fields.pop("")
    texts = [f"{name}{connected}" for name, connected in fields.items()]
    return [
        f"{start}{','.join(texts[first : first + _FIELDS_AT_ONCE])} {stamp}\n"
        for first in range(0, len(texts), _FIELDS_AT_ONCE)
    ]


def _with_severity(series: Series, text: str | None, severity: int, stamp: int) -> str:
    """Make the line of a value with its severity where that is needed, or, without a text, of the severity alone."""
    with_severity = severity or severity != series.severity
    series.severity = severity
    if text is None:
        return f"{series.severity_alone}{severity}i {stamp}\n" if with_severity else ""
    if with_severity:
        return f"{series.start}{text}{series.severity_field}{severity}i {stamp}\n"
    return f"{series.start}{text} {stamp}\n"


def _array_text(value: array[float] | array[int] | tuple[str, ...]) -> str:
    """Write an array as a JSON list; what JSON cannot write is null."""
    if len(value) * 2 > LONGEST_TEXT:
        return " " * (LONGEST_TEXT + 1)
    items = [None if isinstance(item, float) and not math.isfinite(item) else item for item in value]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))
