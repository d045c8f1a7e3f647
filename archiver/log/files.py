"""The files of the durable log in their folder, and the blocks in them.

A segment begins with ``MAGIC``; each block is a header and a payload of line protocol. The header holds a mark, the
length and the number of points, the time of writing and a CRC-32 over all of that and the payload, so that a torn tail,
a hole and a flipped bit are distinguished from data, and reading goes on behind them. All numbers are little-endian.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger("labioc.archiver")

MAGIC: Final = b"labiocA1"
START: Final = len(MAGIC)
"""Offset of the first block."""

MARK: Final = b"\xa5BLK"
LARGEST_BLOCK: Final = 16 << 20
"""Bytes of payload in a block; a longer length is a broken header."""

_FIELDS: Final = struct.Struct("<4sIIqq")  # mark, length, points, oldest, newest (Unix ns)
_CRC: Final = struct.Struct("<I")
HEADER_SIZE: Final = _FIELDS.size + _CRC.size
_CHUNK: Final = 1 << 20

_LOCK: Final = "lock"
_NAME: Final = re.compile(r"\d{16}\.log")


@dataclass(frozen=True, slots=True)
class Found:
    """A block in a segment; ``start`` and ``end`` are offsets in the file, times those of the bridge in Unix ns."""

    start: int
    end: int
    points: int
    oldest_ns: int
    newest_ns: int
    payload: bytes


def write_block(fd: int, start: int, payload: bytes, points: int, oldest_ns: int, newest_ns: int) -> int:
    """Write a block at the end of a file, an offset; return where that is now.

    Raises OSError, and leaves the file as it was then, with a whole block at its end.
    """
    fields = _FIELDS.pack(MARK, len(payload), points, oldest_ns, newest_ns)
    block = memoryview(fields + _CRC.pack(zlib.crc32(payload, zlib.crc32(fields))) + payload)
    done = 0
    try:
        while done < len(block):
            done += os.pwrite(fd, block[done:], start + done)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, start)
        raise
    return start + len(block)


def read_block(fd: int, start: int, end: int) -> Found | None:
    """Read the block that begins at an offset; None when there is none, or not a whole one before ``end``."""
    head = os.pread(fd, HEADER_SIZE, start)
    if len(head) < HEADER_SIZE or head[:4] != MARK:
        return None
    _, length, points, oldest_ns, newest_ns = _FIELDS.unpack_from(head)
    stop = start + HEADER_SIZE + length
    if length > LARGEST_BLOCK or stop > end:
        return None
    payload = os.pread(fd, length, start + HEADER_SIZE)
    if len(payload) != length:
        return None
    (crc,) = _CRC.unpack_from(head, _FIELDS.size)
    if crc != zlib.crc32(payload, zlib.crc32(head[: _FIELDS.size])):
        return None
    return Found(start, stop, points, oldest_ns, newest_ns, payload)


def walk(fd: int, start: int, end: int) -> Iterator[Found]:
    """Yield the whole blocks from an offset on, over what is broken."""
    while start < end:
        found = read_block(fd, start, end)
        if found is None:
            start = _next_mark(fd, start + 1, end)
            continue
        yield found
        start = found.end


def _next_mark(fd: int, start: int, end: int) -> int:
    while start < end:
        chunk = os.pread(fd, min(_CHUNK, end - start), start)
        if not chunk:
            break
        at = chunk.find(MARK)
        if at >= 0:
            return start + at
        start += max(len(chunk) - len(MARK) + 1, 1)
    return end


def count_points(fd: int, start: int, end: int) -> int:
    """Add up the points of the blocks from an offset on; headers are believed, payloads not read."""
    points = 0
    base, chunk = start, b""
    while start + HEADER_SIZE <= end:
        at = start - base
        if at < 0 or at + HEADER_SIZE > len(chunk):
            base, at = start, 0
            chunk = os.pread(fd, min(_CHUNK, end - start), start)
            if len(chunk) < HEADER_SIZE:
                break
        mark, length, count, _, _ = _FIELDS.unpack_from(chunk, at)
        if mark != MARK or length > LARGEST_BLOCK:
            start = _next_mark(fd, start + 1, end)
            continue
        start += HEADER_SIZE + length
        if start <= end:
            points += count
    return points


class LogInUse(OSError):
    """Another process writes to this log."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two blocks: number of the segment, offset in it."""

    segment: int
    offset: int


@dataclass(slots=True)
class Segment:
    """One file; ``end`` is where the last whole block ends; when first and last were written, in Unix ns.

    ``points`` is None for a file of an earlier run until they have been counted.
    """

    number: int
    path: Path
    end: int
    begun_ns: int
    newest_ns: int
    points: int | None = None

    def count(self, start: int = START) -> int:
        """Points from an offset on; when the file has been removed, what is known of it. Raises OSError."""
        whole = start <= START
        if whole and self.points is not None:
            return self.points
        try:
            with self.path.open("rb") as file:
                points = count_points(file.fileno(), start, self.end)
        except FileNotFoundError:
            return self.points or 0
        if whole:
            self.points = points
        return points


def points_behind(segment: Segment, position: Position) -> int:
    """Count the points of a segment behind a position; one that cannot be read counts as 1."""
    inside = position.segment == segment.number and position.offset > START
    try:
        return segment.count(position.offset if inside else START)
    except OSError:
        return 1


def segment_files(directory: Path) -> list[tuple[int, Path]]:
    """Return the segments of a log, oldest first."""
    return sorted((int(path.stem), path) for path in directory.iterdir() if _NAME.fullmatch(path.name))


def sync_directory(directory: Path) -> None:
    """Make a new or renamed file in a directory last."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems, of networks mostly, know no flush of a folder
            raise
    finally:
        os.close(fd)


def begin_segment(directory: Path, number: int) -> tuple[int, Path]:
    """Make a file without blocks; return its descriptor and path. Raises OSError, and leaves nothing behind then."""
    path = directory / f"{number:016d}.log"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if os.write(fd, MAGIC) != START:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_directory(directory)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            path.unlink()
        raise
    return fd, path


def take_directory(directory: Path) -> int:
    """Be the only process that writes to a log; returns the descriptor that holds it. Raises LogInUse, OSError."""
    path = directory / _LOCK
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LogInUse(f"{path.parent} is written to by another process") from None
    return fd


def keep_directory(directory: Path, held: int) -> int:
    """Stay the only process that writes to a log, where its folder is another one by now: removed, or mounted again.

    Returns the descriptor that holds it, in the place of ``held``. Raises LogInUse, OSError.
    """
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(held), os.stat(directory / _LOCK)):
            return held
    taken = take_directory(directory)
    os.close(held)
    return taken


def open_segments(directory: Path) -> list[Segment]:
    """Look at the segments of earlier runs; the last may have a torn tail, or nothing in it."""
    segments = []
    files = segment_files(directory)
    for number, path in files:
        status = path.stat()
        end = _cut(path, status.st_size) if number == files[-1][0] else status.st_size
        if end > START:
            segments.append(Segment(number, path, end, status.st_mtime_ns, status.st_mtime_ns))
        else:
            path.unlink()
    return segments


def _cut(path: Path, size: int) -> int:
    """Cut what follows the last whole block; return where that ends."""
    end = START
    with path.open("r+b") as file:
        for block in walk(file.fileno(), end, size):
            end = block.end
        if end < size:
            log.warning("durable log %s: cut %d bytes of an unfinished write", path, size - end)
            file.truncate(end)
    return end
