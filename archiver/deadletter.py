"""Where the points go that a server will not take: a text file for each server, with the server's reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

LARGEST = 100_000_000
"""Bytes; a longer file is renamed to ``.1``, over the one before, so that two of them bound the disk space."""


class DeadLetters:
    """Appends refused lines to ``dead-letters-NAME.lp``.

    Each line follows a comment with time and reason, so the file can be mended and sent again as it is. A bridge that
    is killed between writing here and keeping its position writes the same lines once more.
    """

    def __init__(self, directory: Path, name: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = directory / f"dead-letters-{name}.lp"
        self._clock = clock

    def add(self, line: bytes, reason: str) -> None:
        """Keep a line; it is on the disk afterwards. Raises OSError."""
        comment = f"# {self._clock().isoformat(timespec='seconds')} {' '.join(reason.split())}\n"
        if self.path.exists() and self.path.stat().st_size > LARGEST:
            self.path.replace(self.path.with_suffix(".lp.1"))
        with self.path.open("ab") as file:
            file.write(comment.encode() + line + b"\n")
            file.flush()
            os.fdatasync(file.fileno())
