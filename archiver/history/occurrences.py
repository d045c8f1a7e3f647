"""Events for people, read back: trips, puts, power interruptions, links, gaps of the archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from archiver.config import ServerConfig
from archiver.history.moments import local
from archiver.history.samples import SEVERITIES, HistoryError
from archiver.influx.database import Database
from archiver.log.reader import lines
from archiver.points.lineprotocol import parse
from archiver.points.occurrences import MEASUREMENT


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One event; ``time`` in Unix nanoseconds, ``severity`` 0 to 3."""

    time: int
    kind: str
    title: str
    text: str
    severity: int
    device: str = ""
    channel: str = ""


def occurrences_in_log(directory: Path, since: int, until: int) -> list[Occurrence]:
    """Return the events in the log of a folder between two times (Unix ns), in their order."""
    found = set()
    for line in lines(directory, (f"{MEASUREMENT},".encode(),), since):
        point = parse(line)
        if point.measurement == MEASUREMENT and point.time is not None and since <= point.time <= until:
            found.add(_occurrence(point.time, {**point.tags, **point.fields}))
    return sorted(found)


def occurrences_in_influxdb(server: ServerConfig, since: int, until: int) -> list[Occurrence]:
    """Return the events that an InfluxDB has between two times (Unix ns), in their order. Raises HistoryError."""
    with Database(server, HistoryError) as database:
        return sorted(_occurrence(int(row["time"]), row) for row in database.everything(MEASUREMENT, since, until))


def event_lines(found: Iterable[Occurrence]) -> Iterator[str]:
    """Write events for people."""
    for one in found:
        severity = f"  {SEVERITIES[one.severity & 3]}" if one.severity else ""
        yield f"{local(one.time)}  {one.kind:<8}  {one.title}{': ' if one.text else ''}{one.text}{severity}"


def _occurrence(time: int, row: dict[str, object]) -> Occurrence:
    words = {name: str(row.get(name) or "") for name in ("kind", "title", "text", "device", "channel")}
    severity = row.get("severity")
    return Occurrence(time, severity=int(severity) if isinstance(severity, int | float) else 0, **words)
