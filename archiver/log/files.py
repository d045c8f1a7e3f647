"""The files of the durable log in their folder: opened, cut where a write was not finished, begun, made to last."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archiver.log import blocks

log = logging.getLogger("labioc.archiver")

_LOCK: Final = "lock"
_NAME: Final = re.compile(r"\d{16}\.log")


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

    def count(self, start: int = len(blocks.MAGIC)) -> int:
        """Points from an offset on; when the file has been removed, what is known of it. Raises OSError."""
        whole = start <= len(blocks.MAGIC)
        if whole and self.points is not None:
            return self.points
        try:
            with self.path.open("rb") as file:
                points = blocks.count_points(file.fileno(), start, self.end)
        except FileNotFoundError:
            return self.points or 0
        if whole:
            self.points = points
        return points


def points_behind(segment: Segment, position: Position) -> int:
    """Count the points of a segment behind a position; one that cannot be read counts as 1."""
    inside = position.segment == segment.number and position.offset > len(blocks.MAGIC)
    try:
        return segment.count(position.offset if inside else len(blocks.MAGIC))
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
        if os.write(fd, blocks.MAGIC) != len(blocks.MAGIC):
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
        if end > len(blocks.MAGIC):
            segments.append(Segment(number, path, end, status.st_mtime_ns, status.st_mtime_ns))
        else:
            path.unlink()
    return segments


def _cut(path: Path, size: int) -> int:
    """Cut what follows the last whole block; return where that ends."""
    end = len(blocks.MAGIC)
    with path.open("r+b") as file:
        for block in blocks.walk(file.fileno(), end, size):
            end = block.end
        if end < size:
            log.warning("durable log %s: cut %d bytes of an unfinished write", path, size - end)
            file.truncate(end)
    return end
