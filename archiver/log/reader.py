"""Reading the durable log: one place in it for each server, and whole histories."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

from archiver.log.files import (
    START,
    Found,
    Position,
    Segment,
    points_behind,
    read_block,
    segment_files,
    sync_directory,
    walk,
)
from archiver.log.segments import SegmentLog

log = logging.getLogger("labioc.archiver")

COUNTED_AT_ONCE: Final = 100_000_000
"""Bytes; what waits beyond that is counted in a thread, for the bridge must not wait for a slow disk."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_DAY_NS: Final = 86400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """Lines to send; ``position`` is behind them, ``oldest_ns`` when the first was appended (Unix ns)."""

    position: Position
    payload: bytes
    points: int
    oldest_ns: int


class Reader:
    """The place of one server in the log; what it has committed is never read again.

    The position is kept in ``readers/NAME`` (written to a file beside it, synced, renamed) each time the log syncs,
    so that after a kill up to a second of acknowledged points is read again: the same points, to no effect.
    A new reader begins with the oldest point there is. Raises ValueError for a name that is no file name.
    """

    def __init__(self, parent: SegmentLog, name: str) -> None:
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise ValueError(f"reader {name!r}: letters, digits, '_', '.' and '-' only")
        self.name = name
        self.lost = 0
        self.corrupt = 0
        self._log = parent
        self._path = parent.directory / "readers" / name
        self._path.parent.mkdir(exist_ok=True)
        self._handed: deque[tuple[Position, int]] = deque()
        self._saving = threading.Lock()  # the log saves in a thread, also while the reader is closed
        self._broken = False
        self._skipped_to = Position(0, 0)
        with parent.lock:
            self.position = self._load()
            self._saved: Position | None = None
            self._queued = 0
            self._waiting = [place for place in self._places(self.position) if place[1] < place[2]]
            if self._waiting and self._waiting[-1][0] is parent.segments[-1]:
                segment, start, _ = self._waiting.pop()  # it may grow at any moment
                self._queued = points_behind(segment, Position(segment.number, start))
            parent.readers.append(self)
        self.counted = False
        if sum(end - start for _, start, end in self._waiting) <= COUNTED_AT_ONCE:
            self.count()

    @property
    def queued(self) -> int:
        """Points that are not committed; without those of before the start until they are counted."""
        return max(self._queued, 0)

    def count(self) -> None:
        """Count the points that waited at the start already; from any thread, because they may be many gigabytes."""
        waiting = 0
        for segment, start, _ in self._waiting:
            if self.counted:
                return
            waiting += points_behind(segment, Position(segment.number, start))
        with self._log.lock:
            if not self.counted:
                self.counted = True
                self._took(-waiting)

    def read(self, max_bytes: int, after: Position | None = None) -> Block | None:
        """Return the lines that follow the committed position, or a given one; None when there are none.

        At most ``max_bytes``, but at least one block of the log. May be called from any thread. Raises OSError.
        """
        if after is None:
            self._handed.clear()
        position = self.position if after is None else max(after, self.position)
        payloads: list[bytes] = []
        size = points = oldest = 0
        for block, number in self._blocks(position):
            if payloads and size + len(block.payload) > max_bytes:
                break
            oldest = oldest or block.oldest_ns
            payloads.append(block.payload)
            size += len(block.payload)
            points += block.points
            position = Position(number, block.end)
            if size >= max_bytes:
                break
        if not payloads:
            return None
        self._handed.append((position, points))
        return Block(position, b"".join(payloads), points, oldest)

    def commit(self, position: Position) -> None:
        """The server has everything up to a position; what was read after it can still be committed later."""
        with self._log.lock:
            while self._handed and self._handed[0][0] <= position:
                _, points = self._handed.popleft()
                self._took(points)
            self.position = max(position, self.position)
            if self.position == self._end():
                if self._broken:
                    # What was counted and never came; behind a broken header the number is not known.
                    self.lost += max(self.queued, 1)
                    self._broken = False
                self._queued, self.counted = 0, True

    def appended(self, points: int) -> None:
        """Points were written."""
        self._queued += points

    def dropped(self, points: int, position: Position) -> None:
        """Points that were not committed are gone; go on at a position."""
        self.lost += points
        self._took(points)
        self.position = max(position, self.position)
        self._handed.clear()

    def save(self) -> None:
        """Put the committed position on disk, when it has changed. Raises OSError."""
        with self._saving:
            position = self.position
            if position == self._saved:
                return
            fresh = self._path.with_name(f".{self.name}.new")
            self._path.parent.mkdir(exist_ok=True)
            with open(fresh, "w", encoding="ascii") as file:
                json.dump({"segment": position.segment, "offset": position.offset}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            sync_directory(self._path.parent)
            self._saved = position

    def close(self) -> None:
        """Save the position and leave the log; when it cannot be saved, what was sent since is sent again later."""
        self.counted = True
        try:
            self.save()
        except OSError as error:
            log.error("durable log: position of %s not saved (%s)", self.name, error)
        with self._log.lock:
            if self in self._log.readers:
                self._log.readers.remove(self)

    def _took(self, points: int) -> None:
        self._queued -= points
        if self.counted:
            self._queued = max(self._queued, 0)

    def _end(self) -> Position:
        last = self._log.segments[-1]
        return Position(last.number, last.end)

    def _places(self, position: Position) -> list[tuple[Segment, int, int]]:
        """Segments with what is to be read of them: from offset, to offset."""
        with self._log.lock:
            return [
                (segment, position.offset if segment.number == position.segment else START, segment.end)
                for segment in self._log.segments
                if segment.number >= position.segment
            ]

    def _blocks(self, position: Position) -> Iterator[tuple[Found, int]]:
        for segment, start, end in self._places(position):
            if start >= end:
                continue
            try:
                file = segment.path.open("rb")
            except FileNotFoundError:
                with self._log.lock:
                    if segment in self._log.segments:  # removed by another program
                        self._skipped(segment, start, end)
                continue  # dropped meanwhile, and counted
            at = start
            with file:
                for block in walk(file.fileno(), start, end):
                    if at < block.start:
                        self._skipped(segment, at, block.start)
                    yield block, segment.number
                    at = block.end
                if at < end:
                    self._skipped(segment, at, end)

    def _skipped(self, segment: Segment, start: int, end: int) -> None:
        """Note that there are no blocks between two offsets; once, though the place may be read again."""
        if Position(segment.number, end) <= self._skipped_to:
            return
        self._skipped_to = Position(segment.number, end)
        self._broken = True
        self.corrupt += end - start
        log.error("durable log %s: %d broken bytes left out for %s", segment.path, end - start, self.name)

    def _load(self) -> Position:
        segments = self._log.segments
        oldest = Position(segments[0].number, START)
        try:
            saved = json.loads(self._path.read_text(encoding="ascii"))
            position = Position(int(saved["segment"]), int(saved["offset"]))
        except FileNotFoundError:
            return oldest
        except (ValueError, KeyError, TypeError) as error:
            log.error("durable log: position of %s is broken (%s); sending all again", self.name, error)
            return oldest
        if position < oldest or position.offset < START or position.segment > segments[-1].number:
            return oldest
        for segment in segments:
            if segment.number == position.segment:
                return Position(segment.number, min(position.offset, segment.end))
        return position


def begins_ns(directory: Path) -> int:
    """Return when the oldest block of a log was begun (Unix ns); now when there is none."""
    return next((block.oldest_ns for _, block in _written_since(directory, 0)), time.time_ns())


def lines(directory: Path, starts: Sequence[bytes], since_ns: int = 0) -> Iterator[bytes]:
    """Yield the lines that begin with one of ``starts``, without their ends, in the order they were written.

    Blocks written more than a day before ``since_ns`` (Unix ns) are left out: no stamp is further ahead of its block.
    For any process, also beside the one that writes.
    """
    for _, block in _written_since(directory, since_ns - _DAY_NS):
        yield from _matching(block.payload, starts)


def windows(directory: Path, since_ns: int, until_ns: int, width_ns: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines between two stamps (Unix ns) window by window, each with its beginning, if it has any.

    A line may be written long after its stamp, so that the whole log is looked through once; what is read for a window
    after that are the blocks with lines of it, whatever the number of windows.
    """

    def number(line: bytes) -> int:
        stamp = int(line[line.rfind(b" ") + 1 :] or -1)
        return (stamp - since_ns) // width_ns if since_ns <= stamp <= until_ns else -1

    places: defaultdict[int, list[tuple[Path, int]]] = defaultdict(list)
    for path, block in _written_since(directory, since_ns - _DAY_NS):
        for window in {number(line) for line in block.payload.splitlines()} - {-1}:
            places[window].append((path, block.start))
    for window in sorted(places):
        payloads = chain.from_iterable(
            _read_at(path, [start for _, start in group]) for path, group in groupby(places[window], itemgetter(0))
        )
        found = [line for payload in payloads for line in payload.splitlines() if number(line) == window]
        yield since_ns + window * width_ns, found


def _written_since(directory: Path, earliest: int) -> Iterator[tuple[Path, Found]]:
    """Yield the blocks that were written since a time (Unix ns), in their order."""
    for _, path in segment_files(directory):
        for block in _blocks_of(path, earliest):
            yield path, block


def _blocks_of(path: Path, earliest: int = 0) -> Iterator[Found]:
    """Yield the blocks of a segment that were written since a time (Unix ns); none if it was dropped meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mtime_ns >= earliest:
            found = walk(file.fileno(), START, status.st_size)
            yield from (block for block in found if block.newest_ns >= earliest)


def _read_at(path: Path, starts: Sequence[int]) -> Iterator[bytes]:
    """Yield the payloads of the blocks that begin there; none of a file that was dropped meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in starts:
            if (block := read_block(file.fileno(), start, size)) is not None:
                yield block.payload


def earlier_lines(directory: Path, starts: Sequence[bytes]) -> Iterator[Iterator[bytes]]:
    """Yield the lines that begin with one of ``starts`` segment by segment, the newest segment first.

    Those of a segment are to be read before the next one is asked for.
    """
    for _, path in reversed(segment_files(directory)):
        yield (line for block in _blocks_of(path) for line in _matching(block.payload, starts))


def _matching(payload: bytes, starts: Sequence[bytes]) -> list[bytes]:
    """Return the lines of a payload that begin with one of ``starts``, in their order."""
    text = b"\n" + payload
    found: list[tuple[int, bytes]] = []
    for start in starts:
        at = text.find(b"\n" + start)
        while at >= 0:
            end = text.find(b"\n", at + 1)
            end = len(text) if end < 0 else end
            found.append((at, text[at + 1 : end]))
            at = text.find(b"\n" + start, end)
    return [line for _, line in sorted(found)]
