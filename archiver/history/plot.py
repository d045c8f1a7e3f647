"""A plot of one PV: as a PNG, or as braille characters in a terminal. Values are held until the next one.

Written here because a plotting library would be the largest thing installed for the smallest of the jobs; what is
needed are lines, ticks and five by seven characters.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.history.glyphs import GLYPH_HEIGHT, GLYPH_WIDTH, rows
from archiver.history.samples import Sample

INVALID = 3
_NS = 1_000_000_000
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_WHITE, _BLACK, _GREY, _BLUE, _ROSE = range(5)
_PALETTE = b"\xff\xff\xff\x20\x20\x20\xd8\xd8\xd8\x1f\x5f\xb4\xfb\xdc\xd8"
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot of a braille character (Unicode block 2800), rows from the top, two columns each."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time with one value, all in Unix nanoseconds; None where nothing is known."""

    begin: int
    end: int
    value: float | None


def segments(samples: Sequence[Sample], since: int, until: int) -> list[Segment]:
    """Return what the value was when. Texts, lost connections, INVALID values and what was no number are gaps.

    Behind a gap in the connection the value is the one before, until another comes: one that is unchanged keeps its old
    stamp.
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
    left, right = _clock(span.begin, span.end), _clock(span.end, span.end)
    return "\n".join([title, *drawn, f"{'':{margin}}{left}{right:>{max(columns - len(left), 1)}}"])


def png(title: str, parts: Sequence[Segment], width: int = 960, height: int = 400) -> bytes:
    """Draw a PNG with axes, ticks and labels."""
    span = _Span.of(parts)
    image = _Image(width, height)
    ticks = list(_value_ticks(span.low, span.high))
    left = max((len(text) for _, text in ticks), default=1) * (GLYPH_WIDTH + 1) + 14
    box = _Box(left, 26, width - 16, height - 28)
    image.text(box.left, 9, title)
    for part in parts:
        if part.value is None:
            image.fill(box.x(span.along(part.begin)), box.top, box.x(span.along(part.end)), box.bottom, _ROSE)
    for value, text in ticks:
        y = box.bottom - round((value - span.low) / (span.high - span.low) * (box.bottom - box.top))
        image.fill(box.left, y, box.right, y, _GREY)
        image.text(box.left - 6 - len(text) * (GLYPH_WIDTH + 1), y - GLYPH_HEIGHT // 2, text)
    for time, text in _time_ticks(span.begin, span.end, (box.right - box.left) // 90):
        x = box.x(span.along(time))
        image.fill(x, box.top, x, box.bottom, _GREY)
        image.text(min(x - len(text) * 3, width - len(text) * (GLYPH_WIDTH + 1)), box.bottom + 8, text)
    for x, top, bottom in span.columns(parts, box.right - box.left + 1, box.bottom - box.top + 1):
        image.fill(box.left + x, box.top + top, box.left + x, box.top + bottom, _BLUE)
    image.frame(box)
    return image.png()


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


@dataclass(frozen=True, slots=True)
class _Box:
    """The frame of the plot in pixels, both ends included."""

    left: int
    top: int
    right: int
    bottom: int

    def x(self, along: float) -> int:
        return self.left + round(along * (self.right - self.left))


class _Image:
    """Pixels with a palette, and the few things that are drawn."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._rows = [bytearray(width) for _ in range(height)]

    def fill(self, left: int, top: int, right: int, bottom: int, colour: int) -> None:
        for row in self._rows[max(top, 0) : bottom + 1]:
            row[left : right + 1] = bytes((colour,)) * (min(right, self._width - 1) - left + 1)

    def frame(self, box: _Box) -> None:
        self.fill(box.left, box.top, box.left, box.bottom, _BLACK)
        self.fill(box.left, box.bottom, box.right, box.bottom, _BLACK)

    def text(self, left: int, top: int, text: str) -> None:
        for number, character in enumerate(text):
            for y, bits in enumerate(rows(character)):
                for x in range(GLYPH_WIDTH):
                    column, row = left + number * (GLYPH_WIDTH + 1) + x, top + y
                    if bits >> (GLYPH_WIDTH - 1 - x) & 1 and 0 <= column < self._width and 0 <= row < self._height:
                        self._rows[row][column] = _BLACK

    def png(self) -> bytes:
        """Return the file: one byte a pixel, an index into the palette (PNG specification, colour type 3)."""
        header = struct.pack(">IIBBBBB", self._width, self._height, 8, 3, 0, 0, 0)
        data = zlib.compress(b"".join(b"\0" + row for row in self._rows), 9)
        chunks = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _value_ticks(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Yield about five round numbers between two."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    digits = max(0, -math.floor(math.log10(step)))
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = number * step
        yield value, f"{value:.{digits}f}" if digits < 8 and abs(value) < 1e9 else f"{value:.6g}"


def _time_ticks(begin: int, end: int, most: int) -> Iterator[tuple[int, str]]:
    """Yield round local times between two."""
    seconds = (end - begin) / _NS
    step = next((step for step in _STEPS if seconds / step <= most), math.ceil(seconds / most / 86400) * 86400)
    offset = round(
        (datetime.fromtimestamp(begin // _NS).astimezone().utcoffset() or datetime.min - datetime.min).total_seconds()
    )
    first = math.ceil((begin / _NS + offset) / step) * step - offset
    for second in range(first, end // _NS + 1, step):
        yield second * _NS, _clock(second * _NS, end, day=step >= 86400)


def _clock(time: int, end: int, day: bool = False) -> str:
    """Write a local time; with its date when it is not of the last day shown."""
    moment, last = (datetime.fromtimestamp(ns // _NS) for ns in (time, end))
    if day:
        return f"{moment:%m-%d}"
    return f"{moment:%H:%M:%S}" if moment.date() == last.date() else f"{moment:%m-%d %H:%M}"
