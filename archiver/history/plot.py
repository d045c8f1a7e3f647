"""Plots of PVs: with braille characters in a terminal, or by matplotlib. Values are held until the next one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver.config import PvSpec
from archiver.history.moments import local, zone
from archiver.history.samples import Sample

INVALID = 3
_NS = 1_000_000_000
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot of a braille character (Unicode block 2800), rows from the top, two columns each."""


class PlotError(Exception):
    """There is no plot to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time with one value, all in Unix nanoseconds; None where nothing is known."""

    begin: int
    end: int
    value: float | None


def segments(samples: Sequence[Sample], since: int, until: int) -> list[Segment]:
    """Return what the value was when. Texts, lost connections, INVALID values and what was no number are gaps.

    Behind a gap in the connection the value is the one before, until another comes: one that is unchanged keeps its old
    stamp. What was in force before the beginning is drawn from there.
    """
    result: list[Segment] = []
    begin, value, last = since, None, None
    for sample in samples:
        if begin < sample.time:
            result.append(Segment(begin, sample.time, value))
            begin = sample.time
        if sample.connected is not None:
            value = last if sample.connected else None
        elif sample.value is not None or sample.severity == INVALID:
            number = sample.value if sample.severity != INVALID else None
            value = last = float(number) if isinstance(number, int | float) and math.isfinite(number) else None
    if begin <= until:
        result.append(Segment(begin, until, value))
    return result


def terminal(title: str, parts: Sequence[Segment], width: int = 76, height: int = 16) -> str:
    """Draw with braille characters, ``width`` by ``height`` of them, labels beside and below."""
    span = _Span.of(parts)
    labels = [f"{value:.6g}" for value in (span.high, (span.low + span.high) / 2, span.low)]
    margin = max(map(len, labels)) + 2
    columns = max(width - margin, 10)
    cells = [[0] * columns for _ in range(height)]
    for x, top, bottom in span.columns(parts, columns * 2, height * 4):
        for y in range(top, bottom + 1):
            cells[y // 4][x // 2] |= _BRAILLE[y % 4][x % 2]
    at = {0: labels[0], height // 2: labels[1], height - 1: labels[2]}
    drawn = [
        f"{at.get(row, ''):>{margin - 1}} {''.join(chr(0x2800 + bits) for bits in cells[row])}" for row in range(height)
    ]
    left, right = _clock(span.begin, span.end), f"{_clock(span.end, span.end)} {zone(span.end).split()[0]}"
    return "\n".join([title, *drawn, f"{'':{margin}}{left}{right:>{max(columns - len(left), 1)}}"])


def figure(
    path: Path, histories: Mapping[str, Sequence[Sample]], pvs: Mapping[str, PvSpec], since: int, until: int
) -> None:
    """Draw PNG, SVG or PDF, by the name of the file, with a panel for each PV. Raises PlotError."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional
        from matplotlib import dates  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise PlotError(f"{path}: drawing needs matplotlib (pip install 'labioc[plot]'); or --plot terminal") from None
    local_zone = datetime.fromtimestamp(until // _NS).astimezone().tzinfo
    picture = Figure(figsize=(10, 1 + 2.6 * len(histories)), layout="constrained")
    panels = picture.subplots(len(histories), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, samples) in zip(panels, histories.items(), strict=True):
        parts = segments(samples, since, until)
        times = [_numpy_time(moment) for part in parts for moment in (part.begin, part.end)]
        values = [math.nan if part.value is None else part.value for part in parts for _ in range(2)]
        axes.plot(times, values, linewidth=1.2)
        for part in parts:
            if part.value is None:
                axes.axvspan(_numpy_time(part.begin), _numpy_time(part.end), color="#fbdcd8", linewidth=0)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.set_ylabel(pvs[name].unit)
        if pvs[name].states:
            axes.set_yticks(range(len(pvs[name].states)), pvs[name].states)
        axes.grid(visible=True, alpha=0.3)
    panels[-1].set_xlim(_numpy_time(since), _numpy_time(until))
    locator = dates.AutoDateLocator(tz=local_zone)
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=local_zone))
    panels[-1].set_xlabel(f"local time, {zone(until)}")
    picture.suptitle(f"{local(since)[:19]} to {local(until)[:19]}, {zone(until)}", fontsize="medium")
    try:
        with mpl.rc_context({"svg.fonttype": "none"}):
            picture.savefig(path)
    except (ValueError, OSError) as error:
        raise PlotError(f"{path}: {error}") from error


def _numpy_time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / _NS, UTC)


@dataclass(frozen=True, slots=True)
class _Span:
    """What is to be seen: from when to when, from which value to which."""

    begin: int
    end: int
    low: float
    high: float

    @classmethod
    def of(cls, parts: Sequence[Segment]) -> _Span:
        values = [part.value for part in parts if part.value is not None] or [0.0]
        low, high = min(values), max(values)
        room = (high - low) * 0.05 or max(abs(high) * 0.05, 0.5)
        begin, end = (parts[0].begin, parts[-1].end) if parts else (0, 1)
        return cls(begin, max(end, begin + 1), low - room, high + room)

    def along(self, time: int) -> float:
        """Where a time lies, 0 to 1."""
        return (time - self.begin) / (self.end - self.begin)

    def columns(self, parts: Sequence[Segment], width: int, height: int) -> Iterator[tuple[int, int, int]]:
        """Yield each column of dots that has a line, with its topmost and lowest dot; steps are drawn upright."""
        reach: dict[int, tuple[int, int]] = {}
        before: int | None = None
        for part in parts:
            if part.value is None:
                before = None
                continue
            y = round((self.high - part.value) / (self.high - self.low) * (height - 1))
            first, last = (min(int(self.along(time) * width), width - 1) for time in (part.begin, part.end))
            for x in range(first, last + 1):
                top, bottom = reach.get(x, (y, y))
                reach[x] = min(top, y), max(bottom, y)
            if before is not None:
                top, bottom = reach[first]
                reach[first] = min(top, before), max(bottom, before)
            before = y
        for x in sorted(reach):
            yield x, *reach[x]


def _clock(time: int, end: int) -> str:
    """Write a local time; with its date when it is not of the last day shown."""
    moment, last = (datetime.fromtimestamp(ns // _NS) for ns in (time, end))
    return f"{moment:%H:%M:%S}" if moment.date() == last.date() else f"{moment:%m-%d %H:%M}"
