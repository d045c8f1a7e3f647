"""The durable log: every point goes through it, on its way to the writers and as an archive of its own.

A directory with numbered segment files, which are only ever appended to, and for each reader the position up to
which its server has acknowledged. What is appended is written to the file system at most ``flush_after`` seconds
later, so that it survives a kill of the process, and to the disk at most ``sync_after`` seconds later, so that it
survives a loss of power. Whole segments are dropped, oldest first, when the log is larger or older than allowed; what
a reader had not yet got is counted as lost for it.

When nothing can be written (disk full) the newest ``MEMORY`` bytes wait in memory, older ones are dropped and counted,
and the log goes on by itself as soon as there is room. To make room, segments that every reader has got are removed.
When the disk fails in another way, a new file is tried: once it is mounted again, the old one can never be written.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archiver.log.files import (
    LARGEST_BLOCK,
    START,
    Position,
    Segment,
    begin_segment,
    keep_directory,
    open_segments,
    points_behind,
    segment_files,
    take_directory,
    write_block,
)

if TYPE_CHECKING:
    from archiver.log.reader import Reader

log = logging.getLogger("labioc.archiver")

FLUSH_BYTES: Final = 256 << 10
"""Bytes at which a block is written before its time."""

MEMORY: Final = 4 << 20
"""Bytes that wait in memory while nothing can be written, and that are taken at once."""

SMALLEST_SEGMENT: Final = 64 << 10
LARGEST_SEGMENT: Final = 64 << 20
RETRY: Final = 0.5
"""Seconds between attempts to write to a full disk."""

JUMP: Final = 3600.0
"""Seconds by which the clock may differ from the time that has passed; more, and one of the two times was wrong."""

DOUBT: Final = 86400.0
"""Seconds for which nothing is dropped for its age after the clock has jumped, so that there is time to look."""

_NS: Final = 1_000_000_000
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_RETRY_NEW_NS: Final = 60 * _NS
"""How long an empty file is tried before another one is begun, when the disk fails."""
_NOT_WRITTEN: Final = "cannot be written, keeping the newest in memory"
_NOT_SYNCED: Final = "not put on the disk"
_NOT_REMOVED: Final = "an old file cannot be removed"
_NO_NEW_FILE: Final = "no new file, going on with the old one"


class SegmentLog:
    """The writing end; one process at a time. Raises LogInUse, and OSError when the directory cannot be used.

    ``max_bytes`` and ``max_age`` (seconds) bound the log. Appending is for one thread; readers may live in
    others. ``clock`` gives Unix nanoseconds, ``monotonic`` seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 1_000_000_000,
        max_age: float = 30 * 86400.0,
        flush_after: float = 0.05,
        sync_after: float = 1.0,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.segments: list[Segment] = []
        self.readers: list[Reader] = []
        self.written = self.lost = self.expired = 0
        self._cannot_write, self._errno = "", 0
        self._reported: dict[str, str] = {}
        self._max_bytes, self._max_age = max_bytes, max_age
        self._flush_after, self._sync_after = flush_after, sync_after
        self._segment_bytes = min(max(max_bytes // 16, SMALLEST_SEGMENT), LARGEST_SEGMENT)
        self._clock, self._monotonic = clock, monotonic
        self._buffer: deque[tuple[bytes, int]] = deque()
        self._buffered = 0
        self._oldest_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsynced: dict[int, int] = {}
        self._syncing = threading.Lock()
        now = clock()
        self._looked = (now, monotonic())
        self._ages_from = float("-inf")
        directory.mkdir(parents=True, exist_ok=True)
        self._guard = take_directory(directory)
        self._fd = -1
        try:
            self.segments = open_segments(directory)
            if self.segments and now - self.segments[-1].newest_ns > max_age * _NS:
                self._doubt_age()  # all of it would be too old
            try:
                self._begin_segment()
            except OSError as error:  # there is no room for one: go on with the last
                if not self.segments:
                    raise
                self._fd = os.open(self.segments[-1].path, os.O_RDWR)
                self._failed(error)
        except BaseException:
            os.close(self._guard)
            raise

    @property
    def error(self) -> str:
        """Why the log cannot be written, or not be put on the disk; empty when all is well."""
        return self._cannot_write or self._reported.get(_NOT_SYNCED, "")

    @property
    def size(self) -> int:
        """Bytes of the log on disk."""
        return sum(segment.end for segment in self.segments)

    @property
    def waiting(self) -> int:
        """Points in memory that could not be written yet."""
        return sum(points for _, points in self._buffer)

    def append(self, batch: bytes, points: int) -> None:
        """Take whole lines; they are written at most ``flush_after`` later (while ``run`` runs).

        Raises ValueError for a line that fits no block.
        """
        if len(batch) > MEMORY:  # big texts came together
            end = batch.rfind(b"\n", 0, MEMORY) + 1 or batch.find(b"\n") + 1 or len(batch)
            if end > LARGEST_BLOCK - FLUSH_BYTES:
                raise ValueError(f"a line of {end} bytes")
            if end < len(batch):
                first = batch.count(b"\n", 0, end)
                self.append(batch[:end], first)
                self.append(batch[end:], points - first)
                return
        if not batch:
            return
        with self.lock:
            if not self._buffer:
                self._oldest_ns = self._clock()
            self._buffer.append((batch, points))
            self._buffered += len(batch)
            if self._cannot_write:
                self._shrink_buffer()
        if self._buffered >= FLUSH_BYTES and not self._cannot_write:
            self.flush()
        else:
            self._schedule(RETRY if self._cannot_write else self._flush_after)

    def flush(self) -> bool:
        """Write what has been appended; False when it could not be (it waits in memory then)."""
        with self.lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._buffer:
                return True
            done = self._write()
            while not done and self._errno in _NO_ROOM and self._drop_delivered():
                done = self._write()
            if not done and self._may_begin() and self._try_new_segment():
                done = self._write()  # the old file is on a file system that failed, and that is mounted again by now
            if done:
                self._limit()
            else:
                self._shrink_buffer()
                self._schedule(RETRY)
        return done

    def sync(self) -> None:
        """Wait until all that was written is on the disk, with the positions of the readers. Raises OSError."""
        with self._syncing:
            with self.lock:
                self._note_unsynced()
                waiting, self._unsynced = self._unsynced, {}
                readers = list(self.readers)
            failed: OSError | None = None
            for fd in waiting.values():
                try:
                    os.fdatasync(fd)
                except OSError as error:
                    failed = error
                finally:
                    os.close(fd)
            if failed is not None:
                raise failed
            for reader in readers:
                reader.save()

    def _note_unsynced(self) -> None:
        """Keep the file that is written to for the next sync, also when another one is begun meanwhile."""
        if self._fd >= 0 and self.segments[-1].number not in self._unsynced:
            self._unsynced[self.segments[-1].number] = os.dup(self._fd)

    async def run(self) -> None:
        """Flush and sync in time until cancelled; the disk is waited for in a thread."""
        self._loop = asyncio.get_running_loop()
        try:
            self.flush()
            while True:
                await asyncio.sleep(self._sync_after)
                try:
                    with self.lock:
                        self._replace_removed()
                    await asyncio.to_thread(self.sync)
                    self._report(_NOT_SYNCED)
                    with self.lock:
                        self._limit()
                except OSError as error:
                    self._report(_NOT_SYNCED, error)
                except Exception:
                    log.critical("durable log %s: failed, it goes on", self.directory, exc_info=True)
        finally:
            self._loop = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def close(self) -> None:
        """Write everything, sync it and let go of the directory; again is harmless."""
        if self._fd < 0:
            return
        try:
            self.flush()
            self.sync()
        except OSError as error:
            self._failed(error)
        finally:
            if self.waiting:
                log.error("durable log %s: %d points could not be written and are lost", self.directory, self.waiting)
                self._shrink_buffer(0)
            os.close(self._fd)
            self._fd = -1
            os.close(self._guard)

    def _schedule(self, delay: float) -> None:
        if self._loop is not None and self._timer is None:
            self._timer = self._loop.call_later(delay, self.flush)

    def _write(self) -> bool:
        """Write the buffer as one block; whatever goes wrong, the file ends with a whole block."""
        segment = self.segments[-1]
        payload, points, now = b"".join(batch for batch, _ in self._buffer), self.waiting, self._clock()
        try:
            end = write_block(self._fd, segment.end, payload, points, self._oldest_ns, now)
        except OSError as error:
            self._failed(error)
            return False
        if self._cannot_write:
            log.warning("durable log %s: writing again", self.directory)
            self._cannot_write = self._report(_NOT_WRITTEN)
        self._buffer.clear()
        self._buffered = 0
        segment.end = end
        segment.newest_ns = now
        if segment.points is not None:
            segment.points += points
        self.written += points
        for reader in self.readers:
            reader.appended(points)
        return True

    def _failed(self, error: OSError) -> None:
        self._cannot_write, self._errno = self._report(_NOT_WRITTEN, error), error.errno or 0

    def _report(self, trouble: str, error: OSError | None = None) -> str:
        """Log a trouble once, until it is another or over (no error); return the reason."""
        text = f"{error.strerror or error}" if error else ""
        if text and text != self._reported.get(trouble):
            log.error("durable log %s: %s (%s)", self.directory, trouble, text)
        self._reported[trouble] = text
        return text

    def _shrink_buffer(self, limit: int = MEMORY) -> None:
        while self._buffered > limit:
            batch, points = self._buffer.popleft()
            self._buffered -= len(batch)
            self.lost += points

    def _limit(self) -> None:
        """Begin a new segment when it is time, drop what is more or older than allowed."""
        now = self._clock()
        last = self.segments[-1]
        if last.end >= self._segment_bytes or (last.end > START and now - last.begun_ns > self._max_age * _NS / 16):
            self._try_new_segment()
        ageing = len(self.segments) > 1 and self._age_counts(now)
        while len(self.segments) > 1 and (
            self.size > self._max_bytes or (ageing and now - self.segments[0].newest_ns > self._max_age * _NS)
        ):
            if not self._drop(self.segments[0]):
                break

    def _may_begin(self) -> bool:
        """Whether another file may be tried: not one after the other while none takes a block.

        On a full disk, and where files may not grow, another one is no better.
        """
        if self._errno in (*_NO_ROOM, errno.EFBIG):
            return False
        last = self.segments[-1]
        return last.end > START or self._clock() - last.begun_ns > _RETRY_NEW_NS

    def _try_new_segment(self) -> bool:
        """Begin a new segment, or go on with the one there is, which holds everything just as well."""
        try:
            self._begin_segment()
        except OSError as error:
            self._report(_NO_NEW_FILE, error)
            return False
        self._report(_NO_NEW_FILE)
        return True

    def _replace_removed(self) -> None:
        """Begin anew when the file that is written to has been removed, and count what went. Raises OSError."""
        if os.fstat(self._fd).st_nlink:
            return
        log.error("durable log %s: its files have been removed, beginning anew", self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._begin_segment()
        while len(self.segments) > 1 and not self.segments[0].path.exists():
            self._drop(self.segments[0])

    def _age_counts(self, now: int) -> bool:
        """Whether something may be dropped for its age: a clock wrong for a second must not cost the archive."""
        (before, seen), passed = self._looked, self._monotonic()
        self._looked = (now, passed)
        if (now - before) / _NS - (passed - seen) > JUMP:
            self._doubt_age()
        return passed >= self._ages_from

    def _doubt_age(self) -> None:
        self._ages_from = self._monotonic() + DOUBT
        text = "the clock is far ahead of the newest data; nothing is dropped for its age for %.0f h"
        log.warning(f"durable log %s: {text}", self.directory, DOUBT / 3600)

    def _drop_delivered(self) -> bool:
        """Remove the oldest segment when each reader has got it; without a reader the log is the archive and stays."""
        oldest = self.segments[0]
        end = Position(oldest.number, oldest.end)
        if len(self.segments) < 2 or not self.readers or any(reader.position < end for reader in self.readers):
            return False
        return self._drop(oldest)

    def _drop(self, segment: Segment) -> bool:
        """Remove the oldest segment and count what a reader had not got; False when it cannot be removed."""
        following = Position(self.segments[1].number, START)
        behind = [
            (reader, points_behind(segment, reader.position)) for reader in self.readers if reader.position < following
        ]
        held = points_behind(segment, Position(segment.number, 0))
        try:
            segment.path.unlink(missing_ok=True)
            self._report(_NOT_REMOVED)
        except OSError as error:
            self._report(_NOT_REMOVED, error)
            return False
        for reader, points in behind:
            reader.dropped(points, following)
            if points:
                log.error("durable log %s: dropped %d points not sent to %s", self.directory, points, reader.name)
        self.expired += held - max((points for _, points in behind), default=0)
        self.segments.remove(segment)
        return True

    def _begin_segment(self) -> None:
        """Begin a file; where the folder is another one by now (removed, mounted again), as its only writer again."""
        self._guard = keep_directory(self.directory, self._guard)
        last = self.segments[-1].number if self.segments else 0
        number = max([last, *(found for found, _ in segment_files(self.directory))]) + 1  # one half made may lie there
        self._note_unsynced()
        fd, path = begin_segment(self.directory, number)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        now = self._clock()
        self.segments.append(Segment(number, path, START, now, now, 0))
