"""``labioc archive SITE verify``: the points of the log compared with those of a database, field by field."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archiver.config import ServerConfig
from archiver.history.samples import HistoryError
from archiver.influx.database import Database
from archiver.log.reader import windows
from archiver.points.lineprotocol import FieldValue, parse

_NS: Final = 1_000_000_000
_WINDOW_NS: Final = 300 * _NS
"""So much of the log is compared at once, which bounds the memory."""

_EXAMPLES: Final = 10

Tags = tuple[tuple[str, str], ...]
Points = dict[tuple[Tags, int], dict[str, FieldValue]]


@dataclass(slots=True)
class Verified:
    """How many fields were compared, and what was found; ``extra`` are points of the same series that only it has."""

    compared: int = 0
    missing: int = 0
    differing: int = 0
    extra: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, what: str, measurement: str, tags: Tags, time: int, detail: str) -> None:
        """Keep an example for people."""
        if len(self.examples) < _EXAMPLES:
            series = ",".join([measurement, *(f"{key}={value}" for key, value in tags)])
            self.examples.append(f"{what}: {series} {time}: {detail}")


def verify(directory: Path, server: ServerConfig, since: int, until: int) -> Verified:
    """Compare what log and database have between two times (Unix ns). Raises HistoryError."""
    result = Verified()
    with Database(server, HistoryError) as database:
        for begin, lines in windows(directory, since, until, _WINDOW_NS):
            end = min(begin + _WINDOW_NS - 1, until)
            for measurement, points in _logged(lines).items():
                rows = database.everything(measurement, begin, end)
                _compare(result, measurement, points, _stored(rows, points))
    return result


def _logged(lines: Iterable[bytes]) -> dict[str, Points]:
    found: dict[str, Points] = defaultdict(dict)
    for line in lines:
        point = parse(line)
        key = (tuple(sorted(point.tags.items())), point.time or 0)
        found[point.measurement].setdefault(key, {}).update(point.fields)
    return found


def _stored(rows: Iterable[dict[str, Any]], points: Points) -> Points:
    """Return what some rows have of the tags and fields of some points."""
    names_of_tags = {name for tags, _ in points for name, _ in tags}
    names = {name for fields in points.values() for name in fields}
    found: Points = defaultdict(dict)
    for row in rows:
        where = tuple(sorted((key, str(row[key])) for key in names_of_tags if row.get(key) not in (None, "")))
        fields = {name: row[name] for name in names if row.get(name) is not None}
        if fields:
            found[where, int(row["time"])].update(fields)
    return found


def _compare(result: Verified, measurement: str, logged: Points, stored: Points) -> None:
    for (tags, time), fields in logged.items():
        there = stored.get((tags, time), {})
        for name, value in fields.items():
            result.compared += 1
            if name not in there:
                result.missing += 1
                result.note("missing", measurement, tags, time, f"{name}={value}")
            elif not _same(value, there[name]):
                result.differing += 1
                result.note("differing", measurement, tags, time, f"{name}={there[name]} instead of {value}")
    series = {tags for tags, _ in logged}
    for (tags, time), fields in stored.items():
        if tags in series and (tags, time) not in logged:
            result.extra += 1
            result.note("extra", measurement, tags, time, ", ".join(fields))


def _same(logged: FieldValue, stored: FieldValue) -> bool:
    if isinstance(logged, float) and isinstance(stored, int | float):
        return math.isclose(logged, stored, rel_tol=1e-15, abs_tol=0.0)
    return logged == stored
