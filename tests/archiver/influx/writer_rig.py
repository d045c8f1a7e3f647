"""A writer with a log in memory and a server that fails as it is asked to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.deadletter import DeadLetters
from archiver.influx.writers import Progress, Writer
from tests.archiver.influx.fake_influx import FakeInflux


@dataclass
class MemoryBlock:
    position: int
    payload: bytes
    points: int
    oldest_ns: int = 1


class MemoryLog:
    """A log in memory; a block is what was added at once."""

    def __init__(self) -> None:
        self.blocks: list[MemoryBlock] = []
        self.committed = 0
        self.next = 0
        self.commit_errors = 0

    def add(self, first: int, count: int) -> None:
        payload = b"".join(
            b"HV,channel=%d VMON=%d.5 %d\n" % (n % 7, n, 10**18 + n) for n in range(first, first + count)
        )
        self.blocks.append(MemoryBlock(len(self.blocks) + 1, payload, count))

    def read(self, max_bytes: int) -> MemoryBlock | None:
        if self.next == len(self.blocks):
            return None
        self.next += 1
        return self.blocks[self.next - 1]

    def commit(self, position: int) -> None:
        if self.commit_errors:
            self.commit_errors -= 1
            raise OSError(28, "No space left on device")
        self.committed = position


class Bench:
    """One fake server, one writer."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.fake = FakeInflux()
        self.log = MemoryLog()
        self.server = ServerConfig(
            "fake", self.fake.url, database="d", **{"timeout": 2.0, "batch_seconds": 0.01, **settings}
        )
        self.letters = DeadLetters(directory, "fake")
        self.writer = Writer(self.server, self.log, self.letters, first_delay=0.02)

    @property
    def progress(self) -> Progress:
        return self.writer.progress

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{self.progress}, {len(self.fake.points)} points"
            time.sleep(0.005)

    def wait_drained(self) -> None:
        self.wait(lambda: self.log.committed == len(self.log.blocks))
