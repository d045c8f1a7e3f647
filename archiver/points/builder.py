"""Events become points: lines of line protocol, with the time stamp of the IOC to the nanosecond.

Default schema: a measurement for each device type, tags ``device`` and ``channel``, one field for each PV; or a
measurement for each PV with the field ``value``. The severity goes along as the integer field ``<FIELD>_sev`` when
it is not zero or has changed. Numbers that are no number are never sent, their severity is.
"""

from __future__ import annotations

import json
import math
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from archiver.ca.events import EPICS_EPOCH, Event, Kind, Value
from archiver.config import PvSpec, Schema
from archiver.points.lineprotocol import escape_key, escape_measurement, quote
from archiver.points.thinning import Thinner, parse_tag

__all__ = ["Event", "FieldType", "Kind", "PointBuilder", "PvState", "Refused", "conflicts", "field_type", "field_types"]

CONNECTION: Final = "archive_connection"
"""Measurement of changes of connection: tag ``pv`` (and those of the PV), field ``connected`` 0 or 1."""

BRIDGE: Final = "archive_bridge"
"""Measurement of start and stop of the bridge: tag ``host``, field ``running`` 0 or 1."""

EARLIEST_NS: Final = (EPICS_EPOCH + 365 * 86400) * 1_000_000_000
"""1991-01-01: an earlier stamp is one that was never set."""

AHEAD_NS: Final = 86400 * 1_000_000_000
"""A stamp further ahead of the bridge's clock comes from a clock that is wrong."""

ON_THE_WAY_NS: Final = 2 * 1_000_000_000
"""How late an event may be; a value is repeated for no moment from which another might still be on its way."""

LONGEST_TEXT: Final = 60_000
"""Bytes of a string value; InfluxDB takes 64 KiB."""

INVALID: Final = 3
"""Severity of a value that is none; a PV whose device is lost keeps the stamp of its last good one."""

_INTEGERS: Final = frozenset(
    ("bi", "bo", "mbbi", "mbbo", "mbbiDirect", "mbboDirect", "longin", "longout", "int64in", "int64out")
)
_TEXTS: Final = frozenset(("stringin", "stringout", "lsi", "lso", "waveform", "aai", "aao", "subArray", "compress"))
_INT64: Final = 1 << 63


class FieldType(Enum):
    """Type of a field; InfluxDB keeps that of the first point for ever."""

    FLOAT = "float"
    INTEGER = "integer"
    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER_OR_TEXT = "any"


class Refused(Enum):
    """Why an event did not become a point."""

    UNKNOWN = "not a PV of the configuration"
    STAMP = "time stamp before 1991 or more than 24 h ahead"
    NOT_FINITE = "NaN or infinity"
    TYPE = "value does not fit the type of the field"
    LONG = "text or array too long"


def field_type(rtyp: str) -> FieldType:
    """Return the type of the field for a record type; of another IOC's PV numbers are floats, texts are strings."""
    if rtyp in _INTEGERS:
        return FieldType.INTEGER
    if rtyp in _TEXTS:
        return FieldType.TEXT
    return FieldType.FLOAT if rtyp else FieldType.NUMBER_OR_TEXT


@dataclass(frozen=True, slots=True)
class PvState:
    """What became of the events of one PV; ``last_ns`` is the stamp of the last one, 0 before the first."""

    pv: str
    connected: bool
    last_ns: int
    events: int
    points: int
    refused: int


def conflicts(pvs: Iterable[PvSpec], schema: Schema) -> list[str]:
    """Say which PVs would overwrite one another's points, or want one field of a measurement with two types.

    InfluxDB keeps the type of a field that it saw first, for all devices of the measurement, and refuses others.
    """
    errors = []
    owners: dict[str, str] = {}
    fields: dict[tuple[str, str], tuple[FieldType, str]] = {}
    for pv in pvs:
        series = _make(pv, schema)
        owner = owners.setdefault(series.start, pv.name)
        if owner != pv.name:
            errors.append(f"{pv.name}: its points would be those of {owner} ({series.start.rstrip('=')})")
        place = _place(pv, schema)
        if place[0].startswith("#"):
            errors.append(f"{pv.name}: measurement {place[0]} begins with '#', which makes a comment of each point")
        kind, first = fields.setdefault(place, (series.type, pv.name))
        if kind is not series.type:
            errors.append(f"{pv.name}: field {place[1]} would be {series.type.value}, for {first} it is {kind.value}")
    return errors


def field_types(pvs: Iterable[PvSpec], schema: Schema) -> dict[tuple[str, str], FieldType]:
    """Return the types that the fields of some PVs are sent with, by measurement and field; severities too."""
    types = {}
    for pv in pvs:
        measurement, field = _place(pv, schema)
        types[measurement, field] = field_type(pv.rtyp)
        types[measurement, f"{field}_sev"] = FieldType.INTEGER
    return types


class _Group:
    """PVs whose stamps come from one clock: those of one device."""

    __slots__ = ("newest_ns",)

    def __init__(self) -> None:
        self.newest_ns = 0


class _Series:
    """One PV: how its points begin, and what is remembered of the last event."""

    __slots__ = (
        "arrived_ns",
        "connected",
        "connection",
        "events",
        "floats",
        "given_ns",
        "group",
        "last",
        "last_ns",
        "points",
        "pv",
        "refused",
        "severity",
        "severity_alone",
        "severity_field",
        "start",
        "thinner",
        "type",
    )

    def __init__(self, pv: str, head: str, tags: str, field: str, kind: FieldType, thinner: Thinner | None) -> None:
        self.pv = pv
        self.start = f"{head}{tags} {field}="
        self.severity_field = f",{field}_sev="
        self.severity_alone = f"{head}{tags} {field}_sev="
        self.connection = f"{CONNECTION}{tags},pv={escape_key(pv)} connected="
        self.type = kind
        self.floats = kind is FieldType.FLOAT or kind is FieldType.NUMBER_OR_TEXT
        self.thinner = thinner
        self.group: _Group | None = None
        self.severity = -1  # so that the first point of a run tells it
        self.connected = False
        self.last_ns = self.events = self.points = self.refused = 0
        self.last = Event(pv, 0, None, 0)
        self.given_ns = 0  # the stamp that the IOC gave to it
        self.arrived_ns = 0  # when, by the monotonic clock of the bridge; only where thinner is


class PointBuilder:
    """Makes lines of events. Raises ValueError for a bad archive tag.

    ``clock`` gives Unix nanoseconds, ``monotonic`` nanoseconds as ``time.monotonic_ns`` does.
    """

    def __init__(
        self,
        pvs: Iterable[PvSpec],
        schema: Schema,
        *,
        host: str | None = None,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.refused: Counter[Refused] = Counter()
        self._clock = clock
        self._monotonic = monotonic
        self._host = host or socket.gethostname()
        self._series: dict[str, _Series] = {}
        self._thinned: list[_Series] = []
        groups: dict[str, _Group] = {}
        for pv in pvs:
            series = self._series[pv.name] = _make(pv, schema)
            if pv.device:
                series.group = groups.setdefault(pv.device, _Group())
            if series.thinner is not None:
                self._thinned.append(series)

    def build(self, events: Iterable[Event]) -> tuple[bytes, int]:
        """Return the lines of events and how many they are; refused ones are counted.

        An event with the stamp of the one before and another content gets a stamp 1 ns later: a database would put
        it in the place of that. So does an INVALID one that is the first of all: the good one with its stamp may be
        there since an earlier run.
        """
        lines: list[str] = []
        known = self._series
        latest = self._clock() + AHEAD_NS
        arrived = self._monotonic()
        for event in events:
            series = known.get(event.pv)
            if series is None:
                self.refused[Refused.UNKNOWN] += 1
                continue
            if event.kind == 7:  # Kind.CONNECTION; a look-up of the member would cost as much as all the rest
                lines += self._changed(series, event)
                continue
            stamp = event.seconds_ns
            series.events += 1
            series.last_ns = stamp
            if not EARLIEST_NS <= stamp <= latest:
                self._refuse(series, Refused.STAMP)
                lines += self._begin_again(series)
                continue
            group = series.group
            if group is not None and (stamp > group.newest_ns or stamp < series.given_ns):
                group.newest_ns = stamp  # or else the clock was set back, and what it showed before is no time
            if series.given_ns <= stamp <= series.last.seconds_ns:
                stamp = event.seconds_ns = _apart(series.last, event)
            elif not series.given_ns and event.severity == INVALID:
                stamp = event.seconds_ns = stamp + 1
            series.given_ns, series.last = series.last_ns, event
            if series.thinner is not None:
                series.arrived_ns = arrived
                if not series.thinner.passes(event):
                    continue
            value, severity = event.value, event.severity
            if type(value) is float and series.floats and value - value == 0.0:
                text: str | None = repr(value)
            else:
                text = self._text(series, value)
            if severity or severity != series.severity:
                line = _with_severity(series, text, severity, stamp)
                if line:
                    lines.append(line)
                    series.points += 1
            elif text is not None:
                lines.append(f"{series.start}{text} {stamp}\n")
                series.points += 1
        return "".join(lines).encode(), len(lines)

    def due(self, heard: Callable[[str], int] = lambda pv: 0) -> tuple[bytes, int]:
        """Return what minimum interval and heartbeat ask for now; to be called about once a second.

        A repeated value carries the newest stamp of its device, less what may be on its way, so that it stays in the
        time of the IOC. A PV that belongs to no device has nobody beside it that tells the time: its own stamp and what
        has passed since then are taken, up to the moment at which its server was last ``heard`` (by the monotonic
        clock, ns).
        """
        lines = []
        now = self._monotonic()
        for series in self._thinned:
            thinner = series.thinner
            assert thinner is not None
            if not series.connected:
                continue
            last = series.last.seconds_ns
            if series.group is not None:
                reached = series.group.newest_ns
            else:
                reached = last + heard(series.pv) - series.arrived_ns
            found = thinner.due(max(last + now - series.arrived_ns, reached), reached - ON_THE_WAY_NS)
            if found is not None:
                lines += self._again(series, *found)
        return "".join(lines).encode(), len(lines)

    def finish(self) -> tuple[bytes, int]:
        """Return what the minimum interval still holds back."""
        lines = []
        for series in self._thinned:
            assert series.thinner is not None
            found = series.thinner.held_back()
            if found is not None:
                lines += self._again(series, *found)
        return "".join(lines).encode(), len(lines)

    def bridge(self, running: bool) -> tuple[bytes, int]:
        """Return the point that says that the bridge starts or stops, stamped with its own clock."""
        return f"{BRIDGE},host={escape_key(self._host)} running={int(running)}i {self._clock()}\n".encode(), 1

    def line_start(self, pv: str) -> bytes:
        """Return what the points of a PV begin with, up to and including ``=``; raises KeyError."""
        return self._series[pv].start.encode()

    def severity_start(self, pv: str) -> bytes:
        """Return what the points of a PV begin with that carry its severity alone; raises KeyError."""
        return self._series[pv].severity_alone.encode()

    def connection_start(self, pv: str) -> bytes:
        """Return what the changes of connection of a PV begin with; raises KeyError."""
        return self._series[pv].connection.encode()

    def states(self) -> Iterator[PvState]:
        """Tell what became of each PV's events."""
        for one in self._series.values():
            yield PvState(one.pv, one.connected, one.last_ns, one.events, one.points, one.refused)

    def _changed(self, series: _Series, event: Event) -> list[str]:
        lines = self._begin_again(series)
        series.connected = event.connected
        series.severity = -1
        lines.append(f"{series.connection}{int(event.connected)}i {event.seconds_ns}\n")
        return lines

    def _begin_again(self, series: _Series) -> list[str]:
        """Repeat the last value no more, because it may hold no more; return what was held back of it."""
        thinner = series.thinner
        if thinner is None:
            return []
        found = thinner.held_back()
        thinner.forget()
        return self._again(series, *found) if found is not None else []

    def _again(self, series: _Series, event: Event, stamp: int) -> list[str]:
        """Make the point of a value that was held back, or of one that is repeated, if it is one."""
        stale = event.severity == INVALID and stamp != event.seconds_ns
        line = _with_severity(series, None if stale else self._text(series, event.value), event.severity, stamp)
        if not line:
            return []
        series.points += 1
        return [line]

    def _refuse(self, series: _Series, reason: Refused) -> None:
        series.refused += 1
        self.refused[reason] += 1

    def _text(self, series: _Series, value: Value) -> str | None:
        """Write a value as its field wants it; None when it cannot be, which is counted."""
        reason = Refused.TYPE
        if isinstance(value, int | float):
            if not math.isfinite(value):
                reason = Refused.NOT_FINITE
            elif series.floats:
                return repr(float(value))
            elif series.type is FieldType.INTEGER and int(value) == value and -_INT64 <= value < _INT64:
                return f"{int(value)}i"
        elif value is not None and (series.type is FieldType.TEXT or series.type is FieldType.NUMBER_OR_TEXT):
            text = value if isinstance(value, str) else _array_text(value)
            if len(text) <= LONGEST_TEXT and len(text.encode()) <= LONGEST_TEXT:
                return quote(text)
            reason = Refused.LONG
        self._refuse(series, reason)
        return None


def _make(pv: PvSpec, schema: Schema) -> _Series:
    rules = parse_tag(pv.archive)
    tags = ""
    if pv.channel:
        # The seed's boards select channel '0', not '00'.
        tags += f",channel={escape_key(str(int(pv.channel)) if pv.channel.isdecimal() else pv.channel)}"
    if pv.device:
        tags += f",device={escape_key(pv.device)}"
    measurement, field = _place(pv, schema)
    thinner = None if rules.every else Thinner(rules)
    return _Series(pv.name, escape_measurement(measurement), tags, escape_key(field), field_type(pv.rtyp), thinner)


def _place(pv: PvSpec, schema: Schema) -> tuple[str, str]:
    """Return the measurement and the field of a PV's points."""
    if schema.per_pv or not pv.field:
        return pv.name, "value"
    return schema.measurement(pv), pv.field


def _apart(last: Event, event: Event) -> int:
    """Return the stamp under which an event is told from the last one; the same for the same once more."""
    same = event.severity == last.severity and event.value == last.value
    return last.seconds_ns if same else last.seconds_ns + 1


def _with_severity(series: _Series, text: str | None, severity: int, stamp: int) -> str:
    """Make the line of a value whose severity must be told, or, without a text, of the severity alone."""
    told = severity or severity != series.severity
    series.severity = severity
    if text is None:
        return f"{series.severity_alone}{severity}i {stamp}\n" if told else ""
    if told:
        return f"{series.start}{text}{series.severity_field}{severity}i {stamp}\n"
    return f"{series.start}{text} {stamp}\n"


def _array_text(value: array[float] | array[int] | tuple[str, ...]) -> str:
    """Write an array as a JSON list; what JSON cannot write is null."""
    if len(value) * 2 > LONGEST_TEXT:
        return " " * (LONGEST_TEXT + 1)
    items = [None if isinstance(item, float) and not math.isfinite(item) else item for item in value]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))
