"""Where the points go that a server will not take: a text file for each server, with the server's reason."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

LARGEST = 100_000_000
"""Bytes; a longer file is renamed to ``.1``, over the one before, so that two of them bound the disk space."""

_CHUNK = 1 << 20


class DeadLetters:
    """Appends refused lines to ``dead-letters-NAME.lp``; ``lost`` counts those that had to make room for newer ones.

    Each line follows a comment with time and reason, so the file can be mended and sent again as it is. A bridge that
    is killed between writing here and keeping its position writes the same lines once more.
    """

    def __init__(self, directory: Path, name: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = directory / f"dead-letters-{name}.lp"
        self.lost = 0
        self._clock = clock
        self._unsynced = False

    def add(self, line: bytes, reason: str) -> None:
        """Keep a line, whole or not at all; ``sync`` puts it on the disk. Raises OSError."""
        comment = f"# {self._clock().isoformat(timespec='seconds')} {' '.join(reason.split())}\n"
        if self.path.exists() and self.path.stat().st_size > LARGEST:
            self.sync()
            older = self.path.with_suffix(".lp.1")
            pushed_out = _letters(older)
            self.path.replace(older)
            self.lost += pushed_out
        with open(self.path, "a+b", buffering=0, opener=_for_others_to_read) as file:
            end = file.seek(0, os.SEEK_END)
            torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"  # by a loss of power
            data = b"\n" * torn + comment.encode() + line + b"\n"
            try:
                if os.pwrite(file.fileno(), data, end) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
        self._unsynced = True

    def sync(self) -> None:
        """Wait until every line is on the disk. Raises OSError."""
        if not self._unsynced:
            return
        with self.path.open("r+b") as file:
            os.fdatasync(file.fileno())
        self._unsynced = False


def _for_others_to_read(path: str, flags: int) -> int:
    """Open a file; one that is made is, as the files of the log, only for its owner to write."""
    return os.open(path, flags, 0o644)


def _letters(path: Path) -> int:
    """Count the lines of a file that are no comments: every second one."""
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b"")) // 2
    except FileNotFoundError:
        return 0
