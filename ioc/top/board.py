"""What is known of the PVs of the tables: the last reading of each, and what those that are drawn did lately."""

from __future__ import annotations

import math
from bisect import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from archiver.history.plot import Segment
from ioc.client import Reading
from ioc.records.status import INVALID, SEVERITY_NAMES, STATE
from ioc.top.rows import ALARM, NAME, Row

HISTORY_SECONDS: Final = 600.0
MOST_POINTS: Final = 2000
UNKNOWN: Final = INVALID + 1
"""Severity of what is not connected: worse than all others."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_NS: Final = 1_000_000_000
_NOISE_DIGITS: Final = 20
"""Steps of the last digit of a record that are drawn as a full bar at least: noise is flat then."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with the alarm severity of what it shows, or UNKNOWN."""

    text: str
    severity: int = 0


class Board:
    """Readings by PV; ``take`` is called with each change, and with None when a connection is lost."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.changed: set[str] = set()
        """PVs that have changed; who shows them clears it."""
        self._readings: dict[str, Reading] = {}
        self._trends: dict[str, deque[tuple[float, float | None]]] = {
            row.trend: deque(maxlen=MOST_POINTS) for row in rows
        }

    def take(self, pv: str, reading: Reading | None, now: float) -> None:
        """Take a change at this moment (Unix seconds)."""
        if reading is None:
            self._readings.pop(pv, None)
        else:
            self._readings[pv] = reading
        self.changed.add(pv)
        if (trend := self._trends.get(pv)) is not None:
            trend.append((now, None if reading is None else _number(reading)))
            while len(trend) > 1 and trend[1][0] <= now - HISTORY_SECONDS:
                trend.popleft()

    def has_changed(self, row: Row) -> bool:
        """Return whether a cell of a row has changed."""
        return not self.changed.isdisjoint(row.cells.values())

    def cell(self, row: Row, column: str) -> Cell:
        """Return what stands in a cell."""
        if column == NAME:
            return Cell(row.name, self.severity(row))
        if column == ALARM:
            return self._alarm(row)
        pv = row.cells.get(column)
        return self.show(pv) if pv else Cell("")

    def show(self, pv: str) -> Cell:
        """Return value and severity of a PV."""
        reading = self._readings.get(pv)
        return Cell("?", UNKNOWN) if reading is None else Cell(reading.quantity, reading.severity)

    def number(self, row: Row, column: str) -> float | None:
        """Return the value of a cell for sorting, None without one."""
        reading = self._readings.get(row.cells.get(column, ""))
        return None if reading is None else _number(reading)

    def severity(self, row: Row) -> int:
        """Return the worst severity of a row, UNKNOWN when one of its PVs is not connected."""
        return max((self.show(pv).severity for pv in row.cells.values()), default=0)

    def _alarm(self, row: Row) -> Cell:
        """Return the worst alarm of a row, with the signal that has it."""
        worst, pv = max(((self.show(pv).severity, pv) for pv in row.cells.values()), key=lambda one: one[0])
        if not worst:
            return Cell("")
        reading = self._readings.get(pv)
        if reading is None:
            return Cell("not connected", worst)
        status = "" if reading.status == STATE else f" {reading.status_name}"  # which state, its cell says
        return Cell(f"{reading.severity_name} {pv.rpartition(':')[2]}{status}", worst)

    def summary(self, rows: Iterable[Row]) -> str:
        """Return how many rows are in alarm, by severity."""
        counts = [0] * (UNKNOWN + 1)
        for row in rows:
            counts[self.severity(row)] += 1
        names = [*SEVERITY_NAMES, "not connected"]
        found = [f"{counts[severity]} {names[severity]}" for severity in range(UNKNOWN, 0, -1) if counts[severity]]
        return ", ".join(found) or "no alarm"

    def segments(self, pv: str, now: float, seconds: float) -> list[Segment]:
        """Return what a PV was during the last seconds; a value holds until the next one."""
        begin = now - seconds
        points = list(self._trends.get(pv, ()))
        found = [Segment(_ns(begin), _ns(max(points[0][0], begin)), None)] if points and points[0][0] > begin else []
        for place, (time, value) in enumerate(points):
            end = points[place + 1][0] if place + 1 < len(points) else now
            if end > begin:
                found.append(Segment(_ns(max(time, begin)), _ns(end), value))
        return found

    def known_seconds(self, pv: str, now: float) -> float:
        """Return since when a PV is followed, in seconds."""
        points = self._trends.get(pv)
        return now - points[0][0] if points else 0.0

    def spark(self, pv: str, now: float, seconds: float, width: int) -> str:
        """Draw what a PV was during the last seconds as a line of bars, blank where nothing is known."""
        points, step = list(self._trends.get(pv, ())), seconds / width
        times, values = [time for time, _ in points], []
        for place in range(width):
            before = bisect(times, now - seconds + (place + 0.5) * step)
            values.append(points[before - 1][1] if before else None)
        known = [value for value in values if value is not None]
        if not known:
            return " " * width
        low, high = min(known), max(known)
        reading = self._readings.get(pv)
        digit = 10.0 ** -(reading.meta.precision if reading is not None else 0)
        span = max(high - low, _NOISE_DIGITS * digit)
        return "".join(
            " " if value is None else _BARS[min(int((value - low) / span * len(_BARS)), len(_BARS) - 1)]
            for value in values
        )


def in_order(board: Board, rows: Sequence[Row], column: str, backwards: bool) -> list[Row]:
    """Sort rows: by name as in the database, by alarm the worst first, by values; what has none comes last."""
    if column == NAME:
        return list(reversed(rows)) if backwards else list(rows)
    if column == ALARM:
        return sorted(rows, key=board.severity, reverse=not backwards)
    values = {row.name: board.number(row, column) for row in rows}
    known = [row for row in rows if values[row.name] is not None]
    unknown = [row for row in rows if values[row.name] is None]
    return sorted(known, key=lambda row: values[row.name] or 0.0, reverse=backwards) + unknown


def _number(reading: Reading) -> float | None:
    """Return a value that can be drawn; an INVALID one is none."""
    value = reading.value
    if reading.severity == INVALID or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
