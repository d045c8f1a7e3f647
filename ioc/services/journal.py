"""The journal of puts: who put what, from where, and what came of it, as JSON lines on the disk.

Lines are handed over at once and written by a thread: a put never waits for the disk. They are flushed to the disk
within a second as long as the disk takes them; while it does not, they wait in memory, and the log says so.
Refused puts have a file of their own, so that a client that is refused again and again does not push out what was
applied.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TextIO

from devices.model import Cause, Level
from devices.rules.state_file import flush_folder, in_thread
from ioc.clock import Clock, local_time, wait_for
from ioc.records import Record
from ioc.scan.device_records import ALARM_STATUS
from ioc.site.config import Site

log = logging.getLogger("labioc.journal")

APPLIED, REFUSED, OTHERWISE, UNKNOWN = "applied", "refused", "otherwise", "unknown"
"""What became of a put: done, nothing changed, the device took another value, or it is not known."""

MOST_WAITING = 10_000
"""Lines of one file that wait while the disk does not take them; the oldest are dropped beyond, and counted."""

MOST_BYTES = 10_000_000
"""Size of a file in bytes at which it is put aside as ``.1`` and a new one is begun."""

KEPT = 10
"""Files that are kept of those put aside, ``.1`` the newest."""

PAUSE = 0.25
"""Seconds between two writes, so that a burst of puts is one write."""

RETRY = 1.0
"""Seconds until the next attempt after the disk did not take a line."""

MOST_PUTS, PUTS_BYTES = 16, 2048
"""What IOC:PUTS shows: the last puts, one a line, and its size with the zero at the end."""

LATE = 1.0
"""Seconds after which a write that has not ended is reported."""

Typed = float | int | str
"""A value as its record has it: the number of a state for the value of a switch, its name for any other menu."""

LONGEST = 400
"""Characters of a value that are kept; an array or a long text is cut there."""


@dataclass(slots=True)
class Entry:
    """One put; values as text, as an operator knows them, and empty where there are none.

    ``time`` is when it came, as Unix time; ``seconds`` is how long its answer took. User and host are what the client
    says, ``address`` is what the socket says. ``values`` are the typed values before and after, for other programs; the
    journal itself has texts. ``began`` is when it came in monotonic time.
    """

    time: float
    pv: str
    user: str
    host: str
    address: str
    old: str
    new: str
    read_back: str = ""
    outcome: str = REFUSED
    reason: str = ""
    seconds: float = 0.0
    values: tuple[Typed, Typed] | None = field(default=None, compare=False)
    began: float = field(default=0.0, compare=False)

    @property
    def who(self) -> str:
        """Who put: ``user@host (address)``."""
        return f"{self.user}@{self.host} ({self.address})"

    @property
    def typed(self) -> tuple[Typed, Typed]:
        """The values before and after; the texts where no others are known."""
        return self.values or (self.old, self.read_back or self.new)

    def line(self) -> str:
        """Return the entry as a line of the journal."""
        stamp = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        cut = {name: text[:LONGEST] for name, text in asdict(self).items() if isinstance(text, str)}
        return json.dumps({"time": stamp, **cut, "seconds": round(self.seconds, 6)}) + "\n"


def entry_of(line: str) -> Entry | None:
    """Read a line of the journal; None when it is none, as one that a power failure has cut."""
    try:
        found = json.loads(line)
        entry = Entry(**found | {"time": datetime.fromisoformat(found["time"]).timestamp()})
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    texts = (entry.pv, entry.user, entry.host, entry.address, entry.old, entry.new, entry.read_back, entry.outcome)
    fits = all(isinstance(text, str) for text in (*texts, entry.reason)) and isinstance(entry.seconds, int | float)
    return entry if fits else None


def journal_files(site: Site, folder: Path) -> tuple[Path, Path]:
    """Return the two files of an IOC: of the puts that were begun, and of those that were refused."""
    start = f"{site.prefix.replace(':', '.')}.{site.ioc}"
    return folder / f"{start}-puts.jsonl", folder / f"{start}-refused.jsonl"


class Journal:
    """Writes entries; ``begun`` and ``refused`` are the files, None keeps nothing."""

    def __init__(self, clock: Clock, begun: Path | None = None, refused: Path | None = None) -> None:
        self._begun = _File(clock, begun)
        self._refused = _File(clock, refused)
        self.puts = Counter(dict.fromkeys((APPLIED, REFUSED, OTHERWISE, UNKNOWN), 0))
        """Puts by outcome, since the start."""
        self.on_put: Callable[[Entry], None] = lambda entry: None
        """Called with each put that was begun, when it is over."""

    @property
    def lost(self) -> int:
        """Lines that were dropped since the start, because the disk did not take them."""
        return self._begun.dropped + self._refused.dropped

    @property
    def failing(self) -> bool:
        """Whether lines wait that the disk does not take."""
        return self._begun.failing or self._refused.failing

    def note(self, entry: Entry) -> None:
        """Have an entry written soon; it may be changed afterwards."""
        self.puts[entry.outcome] += 1
        if entry.outcome == REFUSED:
            self._refused.add(entry.line())
        else:
            self._begun.add(entry.line())
            self.on_put(entry)

    def reopen(self) -> None:
        """Try at once to write what waits, as after the disk or the folder has been mended."""
        self._begun.wake()
        self._refused.wake()

    async def close(self) -> None:
        """Write what waits, once more also what could not be written so far.

        When that is cancelled since the disk is slow, a thread still writes it: the process does not end before that.
        """
        await asyncio.gather(self._begun.close(), self._refused.close())


class LastPuts:
    """IOC:PUTS: the last puts, one a line, the newest first; an alarm while the journal cannot be written."""

    def __init__(self, records: Iterable[Record], clock: Clock, journal: Journal | None) -> None:
        self._records = tuple(records)
        self._clock = clock
        self._journal = journal
        self._lines: list[str] = []

    def add(self, text: str) -> None:
        """Show a put with its time; as many are kept as there is room for, in whole lines."""
        now = self._clock.time()
        lines = [f"{local_time(now)}.{int(now % 1 * 1000):03d} {text}", *self._lines[: MOST_PUTS - 1]]
        while len(lines) > 1 and len("\n".join(lines).encode("utf-8", "surrogateescape")) >= PUTS_BYTES:
            lines.pop()
        self._lines = lines
        value, level, cause = self.shown()
        for record in self._records:
            record.post(value, now, level, ALARM_STATUS[cause])

    def shown(self) -> tuple[str, Level, Cause]:
        """Return what is shown, with its alarm."""
        fails = self._journal is not None and self._journal.failing
        return "\n".join(self._lines), *((Level.MINOR, Cause.WRITE) if fails else (Level.OK, Cause.NONE))


class _File:
    """One file of the journal, and the lines that wait for it."""

    def __init__(self, clock: Clock, path: Path | None) -> None:
        self.failing = False
        self.dropped = 0
        self._clock = clock
        self._path = path
        self._waiting: deque[str] = deque()
        self._lock = Lock()  # for what waits
        self._disk = Lock()  # for one write at a time
        self._lost = 0
        self._closing = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, line: str) -> None:
        if self._path is None:
            return
        with self._lock:
            self._waiting.append(line)
            self._bound()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(self._path), name=f"journal {self._path.name}")

    def wake(self) -> None:
        self._wake.set()

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None and not self._task.done():
            await self._task

    async def _work(self, path: Path) -> None:
        """Write until nothing waits; once closed there is one more attempt."""
        try:
            while self._waiting or self.failing:
                last = self._closing
                await self._write(path)
                if last and self.failing:
                    self._give_up(path)
                    return
                await self._pause(RETRY if self.failing else PAUSE)
        except asyncio.CancelledError:
            try:
                in_thread(self._write_last, path)
            except RuntimeError:
                self._give_up(path)
            raise

    async def _pause(self, seconds: float) -> None:
        await wait_for(self._wake, seconds, self._clock)
        if not self._closing:
            self._wake.clear()

    async def _write(self, path: Path) -> None:
        timer = self._clock.call_later(LATE, lambda: self._fails(f"the disk has not answered for {LATE:g} s"))
        try:
            await asyncio.shield(in_thread(self._write_waiting, path))
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be had
            self._fails(getattr(error, "strerror", None) or str(error))
        else:
            if self.failing:
                log.warning("%s is written again; puts that are lost: %d", path, self._lost)
            self.failing, self._lost = False, 0
        finally:
            timer.cancel()

    def _write_waiting(self, path: Path) -> None:
        """Write what waits; what could not be written waits on. Raises OSError."""
        with self._disk:
            with self._lock:
                lines = list(self._waiting)
                self._waiting.clear()
            try:
                if lines:
                    _append(path, "".join(lines).encode())
            except OSError:
                with self._lock:
                    self._waiting.extendleft(reversed(lines))
                    self._bound()
                raise

    def _write_last(self, path: Path) -> None:
        try:
            self._write_waiting(path)
        except OSError:
            self._give_up(path)

    def _give_up(self, path: Path) -> None:
        log.error("%s: %d puts are not in the journal", path, len(self._waiting))

    def _fails(self, reason: str) -> None:
        if not self.failing:
            log.error("%s cannot be written: %s; puts go on, their lines wait in memory", self._path, reason)
        self.failing = True

    def _bound(self) -> None:
        """Drop the oldest lines beyond what may wait."""
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
            self.dropped += 1


def _append(path: Path, lines: bytes) -> None:
    """Add lines to a file and have them on the disk. Raises OSError; the file is then as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size + len(lines) > MOST_BYTES:
            _put_aside(path)
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            lines = b"\n" + lines  # a power failure has cut the last line
        try:
            while lines:
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())
            if end == 0:
                flush_folder(path.parent)
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def _put_aside(path: Path) -> None:
    """Move a full file to ``.1``, the one there to ``.2`` and so on; the oldest goes."""
    names = [path, *(_older(path, number) for number in range(1, KEPT + 1))]
    for newer, older in reversed(list(pairwise(names))):
        with suppress(FileNotFoundError):
            newer.replace(older)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def stored(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file and of those put aside, in the order in which they were written. Raises OSError."""
    with ExitStack() as stack:
        files: dict[tuple[int, int], TextIO] = {}
        # The newest first: one that is put aside meanwhile is met twice, and not missed.
        for place in (path, *(_older(path, number) for number in range(1, KEPT + 1))):
            with suppress(FileNotFoundError):
                file = stack.enter_context(open(place, encoding="utf-8", errors="replace"))
                found = os.fstat(file.fileno())
                files.setdefault((found.st_dev, found.st_ino), file)
        for lines in reversed(files.values()):
            yield from filter(None, map(entry_of, lines))


class Follower:
    """Reads what is added to a file from now on, also after it has been put aside and begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def new(self) -> list[Entry]:
        """Return the entries that have come since the last call. Raises OSError."""
        lines = self._lines()
        if self._file is None or self._is_another():
            lines += self._lines()  # what was added before it was put aside
            self._open()
            lines += self._lines()
        return [entry for line in lines if (entry := entry_of(line.decode(errors="replace"))) is not None]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _lines(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return lines

    def _is_another(self) -> bool:
        """Whether the path leads to another file than the one that is open."""
        try:
            return self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        self.close()
        self._rest = b""
        try:
            self._file = open(self._path, "rb")  # noqa: SIM115  it stays open
        except FileNotFoundError:
            self._file = None
