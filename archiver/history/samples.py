"""What a PV did: its events read back from the durable log of a bridge, or from an InfluxDB."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from heapq import heappop, heappush, merge
from itertools import groupby
from pathlib import Path
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.database import Database
from archiver.log.reader import begins_ns, earlier_lines, lines
from archiver.points.catalogue import Catalogue
from archiver.points.lineprotocol import FieldValue, parse
from archiver.points.series import CONNECTION, Series

log = logging.getLogger("labioc.archiver")

__all__ = ["SEVERITIES", "HistoryError", "Sample", "combined", "from_influxdb", "from_log", "names", "with_severity"]

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
_TRUE, _FALSE = (b"true", b"t", b"T", b"True", b"TRUE"), (b"false", b"f", b"F", b"False", b"FALSE")
_WILD = frozenset("*?[")

_SORTED_AT_ONCE = 20_000
"""Samples of a PV that are held to bring them into the order of their stamps."""


class HistoryError(Exception):
    """There is no history to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One event; ``time`` in Unix nanoseconds.

    ``value`` is None where the reading was no number, and when the PV was lost (``connected`` False) or came back
    (``connected`` True). ``severity`` is None where the point does not tell it: as before.
    """

    time: int
    value: FieldValue | None = None
    severity: int | None = None
    connected: bool | None = None


def with_severity(samples: Iterable[Sample]) -> Iterator[tuple[Sample, int]]:
    """Yield samples with the severity in force, 0 to 3."""
    severity = 0
    for sample in samples:
        severity = severity if sample.severity is None else sample.severity & 3
        yield sample, severity


def names(known: Catalogue, patterns: Iterable[str]) -> list[str]:
    """Return the PVs that some names or wildcards mean, each once. Raises HistoryError for one that means none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        if not _WILD.isdisjoint(pattern):
            matches = sorted(name for name in known.pvs if fnmatchcase(name, pattern))
        else:
            matches = [pattern] if pattern in known.pvs else []
        if not matches:
            close = [name for name in known.pvs if name.startswith(pattern) or pattern.lower() == name.lower()]
            hint = f"; there is {', '.join(close[:5])}" if close else ""
            raise HistoryError(f"{pattern} is not archived here{hint}")
        found.update(dict.fromkeys(matches))
    return list(found)


def from_log(directory: Path, known: Catalogue, pv: str, since: int, until: int) -> Iterator[Sample]:
    """Yield the samples of a PV in the log of a folder, in the order of their stamps.

    What was in force at the beginning comes first, with the stamps that it has. Raises HistoryError.
    """
    series = _series(known, pv)
    starts = _starts(series, known)
    earlier: list[Sample] = []
    for segment in earlier_lines(directory, starts):
        old = (line for line in segment if int(line[line.rfind(b" ") + 1 :]) < since)
        for sample in (sample for line in old for sample in _samples_of(line, series)):
            earlier.append(sample)
            if len(earlier) > _SORTED_AT_ONCE:
                earlier = _that_counts(earlier)
        earlier = _that_counts(earlier)
        if any(sample.value is not None for sample in earlier) and any(one.severity is not None for one in earlier):
            break
    yield from _in_force(earlier)
    written = (sample for line in lines(directory, starts, since) for sample in _samples_of(line, series))
    yield from in_order(sample for sample in written if since <= sample.time <= until)


def in_order(samples: Iterable[Sample], at_once: int = _SORTED_AT_ONCE) -> Iterator[Sample]:
    """Yield samples in the order of their stamps, of those with the same stamp the last one.

    They come nearly in order, and only ``at_once`` are held: one that is later than that, as after a step of the
    clock, comes out of order.
    """
    for _, same in groupby(_by_stamp(samples, at_once), lambda sample: (sample.time, sample.connected is None)):
        *_, last = same
        yield last


def _by_stamp(samples: Iterable[Sample], at_once: int) -> Iterator[Sample]:
    waiting: list[tuple[int, bool, int, Sample]] = []
    for number, sample in enumerate(samples):
        heappush(waiting, (sample.time, sample.connected is None, number, sample))
        if len(waiting) > at_once:
            yield heappop(waiting)[-1]
    for entry in sorted(waiting):
        yield entry[-1]


def from_influxdb(server: ServerConfig, known: Catalogue, pv: str, since: int, until: int) -> Iterator[Sample]:
    """Yield the samples of a PV that an InfluxDB has, as ``from_log`` does. Raises HistoryError."""
    if server.version not in (1, 2, 3):
        raise HistoryError(f"{server.name} takes line protocol, but how to ask it is not known")
    series = _series(known, pv)
    with Database(server, HistoryError) as database:
        streams: list[Iterator[Sample]] = []
        earlier: list[Sample] = []
        for head, field, connection in ((series.head, series.field, False), (series.connection, pv, True)):
            point = parse(f"{head}x=0 0".encode())
            source = database.source(point.measurement)
            columns = [field] if connection else [field, f"{field}_sev"]
            rows = database.select(source, columns, point.tags, since, until)
            streams.append(_of_rows(rows, field, connection))
            for column in columns:
                found = database.last_before(source, column, point.tags, since)
                if found is not None:
                    earlier += _sample(found[0], {column: found[1]}, field, connection)
        yield from _in_force(earlier)
        yield from merge(*streams, key=lambda sample: sample.time)


def _of_rows(rows: Iterable[tuple[int, dict[str, Any]]], field: str, connection: bool) -> Iterator[Sample]:
    for time, fields in rows:
        yield from _sample(time, fields, field, connection)


def combined(
    directory: Path, server: ServerConfig | None, known: Catalogue, pv: str, since: int, until: int
) -> Iterator[Sample]:
    """Yield the samples of a PV from the log, and what is older than the log from a server.

    While the server gives no answer the log has to do. Raises HistoryError, also for a server that fails in the middle:
    an answer with a hole would look like a whole one.
    """
    begin = begins_ns(directory)
    if server is None or server.version not in (1, 2, 3) or since >= begin:
        yield from from_log(directory, known, pv, since, until)
        return
    older = from_influxdb(server, known, pv, since, min(begin - 1, until))
    try:
        first = next(older, None)
    except HistoryError as error:
        log.warning("%s: what is older than the log is left out: %s", pv, error)
        yield from from_log(directory, known, pv, since, until)
        return
    if first is not None:
        yield first
        yield from older
    yield from (sample for sample in from_log(directory, known, pv, begin, until) if sample.time >= begin)


def _in_force(earlier: Iterable[Sample]) -> list[Sample]:
    """Return what held after some samples: the last value with its severity, and what has ended it since."""
    value, before, severity, connection = _newest(earlier)
    found = []
    if value is not None:
        found.append(Sample(value.time, value.value, before.severity if before is not None else None))
    if severity is not None and (value is None or severity.time > value.time):
        found.append(Sample(severity.time, severity=severity.severity))
    if connection is not None and not connection.connected:
        found.append(connection)
    return sorted(found, key=lambda sample: sample.time)


def _that_counts(earlier: Iterable[Sample]) -> list[Sample]:
    """Return of some samples those that ``_in_force`` needs, also when older ones are added."""
    return list(dict.fromkeys(sample for sample in _newest(earlier) if sample is not None))


def _newest(samples: Iterable[Sample]) -> tuple[Sample | None, Sample | None, Sample | None, Sample | None]:
    """Return the newest value, the severity that it had, the newest severity, and the newest change of connection."""

    def newest(wanted: Callable[[Sample], bool]) -> Sample | None:
        return max(filter(wanted, samples), key=lambda sample: sample.time, default=None)

    value = newest(lambda sample: sample.value is not None)
    severity = newest(lambda sample: sample.severity is not None)
    before = newest(lambda one: one.severity is not None and (value is None or one.time <= value.time))
    return value, before, severity, newest(lambda sample: sample.connected is not None)


def _series(known: Catalogue, pv: str) -> Series:
    (name,) = names(known, [pv])
    return Series(known.pvs[name], known.schema)


def _starts(series: Series, known: Catalogue) -> tuple[bytes, ...]:
    """Return what the lines begin with that may be of a PV: all of its channel when it is part of rows."""
    if known.schema.row_period(known.pvs[series.pv]):
        return series.head.encode(), series.connection.encode()
    return series.start.encode(), series.severity_alone.encode(), series.connection.encode()


def _samples_of(line: bytes, series: Series) -> list[Sample]:
    """Return what a line says of a PV."""
    connection = line.startswith(CONNECTION.encode())
    field = series.connection_field if connection else series.field_start
    if field.encode() not in line and (connection or f"{field[:-1]}_sev=".encode() not in line):
        return []  # another field of the channel
    if not connection and b'"' not in line:
        return _number_sample(line, series)
    point = parse(line)
    return _sample(point.time or 0, point.fields, series.pv if connection else series.field, connection)


def _number_sample(line: bytes, series: Series) -> list[Sample]:
    """Read one field of a line without texts, as the parser would; a row has twenty of them."""
    end = line.rfind(b" ")
    value = _number_at(line, series.field_start.encode(), end)
    severity = _number_at(line, f"{series.field_start[:-1]}_sev=".encode(), end)
    if value is None and severity is None:
        return []
    return [Sample(int(line[end + 1 :]), value, None if severity is None else int(severity))]


def _number_at(line: bytes, field: bytes, end: int) -> float | int | None:
    at = max(line.find(b" " + field), line.find(b"," + field))
    if at < 0:
        return None
    begin = at + 1 + len(field)
    stop = line.find(b",", begin, end)
    word = line[begin : stop if stop >= 0 else end]
    if word.endswith(b"i"):
        return int(word[:-1])
    return int(word in _TRUE) if word in _TRUE or word in _FALSE else float(word)


def _sample(time: int, fields: Mapping[str, Any], name: str, connection: bool) -> list[Sample]:
    """Return the sample of a PV in a point, if there is one."""
    value = fields.get(name)
    if connection:
        return [Sample(time, connected=bool(value))] if value is not None else []
    severity = fields.get(f"{name}_sev")
    if value is None and severity is None:
        return []
    value = int(value) if isinstance(value, bool) else value
    return [Sample(time, value, None if severity is None else int(severity))]
